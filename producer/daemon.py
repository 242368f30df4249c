"""The local daemon from outside: start it in the background, find it, stop it, read its last error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from blipq import __version__
from blipq.producer.errors import UserError
from blipq.settings import Settings
from blipq.worker.lock import DaemonLock, Holder

LOG_BYTES = 10_000_000
STOP_SECONDS = 660.0  # one batch of the longest limit, and a minute


def log_path(settings: Settings) -> Path:
    """Where the daemon and its workers write."""
    return settings.home / "log" / "blipq.log"


def start(settings: Settings, *, idle: float | None) -> bool:
    """Start the daemon behind, unless one runs. True where this call started one.

    A daemon of an older version is asked to stop first: it finishes its batch, and the new one migrates. Raises
    UserError where the system starts no process, or its log cannot be written.
    """
    running = DaemonLock(settings.home).holder()
    if running is not None and running.version == __version__:
        return False
    if running is not None:
        stop(settings)
    log = log_path(settings)
    command = [sys.executable, "-P", "-m", "blipq.worker.supervisor"]
    if idle is not None:
        command += ["--idle", str(idle)]
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as opened:
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
                cwd=settings.home,
                start_new_session=True,
            )
    except OSError as error:
        raise UserError(f"the local daemon cannot be started ({error}): what is queued stays queued") from None
    return True


def running(settings: Settings) -> Holder | None:
    """The daemon of this home, if one lives."""
    return DaemonLock(settings.home).holder()


def stop(settings: Settings) -> bool:
    """Ask the daemon to stop after its present batch, and wait. False where none ran.

    Raises UserError where it does not stop.
    """
    found = running(settings)
    if found is None or not found.pid:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while (now := running(settings)) is not None and now.pid == found.pid:
        if time.monotonic() > end:
            raise UserError(f"the daemon (process {found.pid}) does not stop: see {log_path(settings)}")
        time.sleep(0.05)
    return True


def log_size(settings: Settings) -> int:
    """How long the log is now, in bytes."""
    try:
        return log_path(settings).stat().st_size
    except OSError:
        return 0


def last_words(settings: Settings, since: int) -> str | None:
    """What a daemon said before it ended: its last error, else its last line, after so many bytes of the log."""
    try:
        with open(log_path(settings), "rb") as opened:
            opened.seek(max(since, opened.seek(0, os.SEEK_END) - 65536))
            lines = [line.strip() for line in opened.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return None
    errors = [said.strip() for _, said in (line.split(" ERROR ", 1) for line in lines if " ERROR " in line)]
    return next(reversed(errors or lines), None)


def last_error(settings: Settings, since: float = 3600.0) -> str | None:
    """The last error in the log, where it is newer than some seconds."""
    try:
        with open(log_path(settings), "rb") as opened:
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - 65536))
            lines = opened.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        stamp, _, said = line.partition(" ERROR ")
        if said:
            with contextlib.suppress(ValueError):
                when = time.mktime(time.strptime(stamp.split(",")[0], "%Y-%m-%d %H:%M:%S"))
                if time.time() - when < since:
                    return said.strip()
            return None
    return None
