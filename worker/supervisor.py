"""The supervisor: keeps one Celery process a queue and device, the embedded broker, and their leases honest.

`python -m blipq.worker.supervisor` is what `blipq up`, `blipq worker` and the local daemon run.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blipq import __version__, settings
from blipq.models import attempts, fleet, migrate, starts, status
from blipq.models.database import Ledger, LedgerError, open_ledger
from blipq.settings import Settings
from blipq.worker import log
from blipq.worker.broker import BrokerError, ensure_broker, stop_broker
from blipq.worker.lock import DaemonLock
from blipq.worker.reasons import ending
from blipq.worker.start import CRASHED

SUPERVISOR = "_BLIPQ_SUPERVISOR"  # the variable that tells a worker whose child it is: it ends when that one does
TICK_SECONDS = 0.1
LOOK_SECONDS = 2.0  # between two looks at the broker, at silent workers and at what is left to do
QUICK_SECONDS = 10.0  # a worker that ends sooner, and before it got any work, is restarted ever more slowly
SLOWEST_RESTART = 30.0
START_SECONDS = 120.0  # by which a worker must have been heard of; 2 s on an idle machine
END_SECONDS = 30.0  # more than its batch may take, for a worker to end when it is asked to
_log = logging.getLogger(__name__)


@dataclass
class Seat:
    """A place for one worker process: its queue and device."""

    queue: str
    device: str
    number: int
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    quick_ends: int = 0
    start_after: float = 0.0
    silent_looks: int = 0


class Supervisor:
    """Starts, restarts, kills and stops the workers of one host.

    The workers are tended from a thread of their own, so that one that died gives its units back at once even while the
    main thread waits for a broker that hangs. The broker is the main thread's: Linux ends it with who started it.
    """

    def __init__(self, asked: Settings, ledger: Ledger, seats: Sequence[Seat], idle: float | None) -> None:
        self._settings = asked
        self._ledger = ledger
        self._seats = seats
        self._idle = idle
        self._stop = threading.Event()
        self._busy_at = time.monotonic()

    def run(self) -> bool:
        """Keep the workers until told to stop (SIGTERM, SIGINT); True where nothing was due for the idle time."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        tending = threading.Thread(target=self._tend_all, name="workers")
        tending.start()
        try:
            while not self._stop.wait(LOOK_SECONDS):
                if self._look():
                    return True
            return False
        finally:
            self._stop.set()
            tending.join()
            self._end_workers()

    def _tend_all(self) -> None:
        while not self._stop.is_set():
            for seat in self._seats:
                try:
                    self._tend(seat)
                except Exception:
                    _log.exception("the %s worker cannot be tended", seat.queue)
            self._stop.wait(TICK_SECONDS)

    def _tend(self, seat: Seat) -> None:
        """Start the seat's worker, or reap it: its leases are free at once."""
        if seat.process is None:
            if time.monotonic() >= seat.start_after:
                seat.process = _start(seat, self._settings)
                seat.started_at = time.monotonic()
            return
        exit_status = seat.process.poll()
        if exit_status is None:
            return
        lived = time.monotonic() - seat.started_at
        _log.error("the %s worker (process %d) %s", seat.queue, seat.process.pid, ending(exit_status))
        freed = self._free(seat.process.pid, ending(exit_status))
        if freed is None:
            return  # the database cannot be reached: try again, before anything new is started
        if lived < QUICK_SECONDS and not freed and exit_status not in (0, CRASHED):  # after these it spoke for itself
            self._tell(seat, exit_status)
        seat.process = None
        seat.quick_ends = seat.quick_ends + 1 if lived < QUICK_SECONDS and not freed else 0
        seat.start_after = time.monotonic() + min(SLOWEST_RESTART, 2.0 ** (seat.quick_ends - 1) - 1)

    def _tell(self, seat: Seat, exit_status: int) -> None:
        """Note that a worker ended before it did anything, and could not say why."""
        assert seat.process is not None
        why = f"its process {ending(exit_status)}; the log says more"
        try:
            with self._ledger.write() as connection:
                starts.failed(connection, queue=seat.queue, device=seat.device, reason=why, pid=seat.process.pid)
        except LedgerError as error:
            _log.error("%s", error)

    def _free(self, pid: int, how: str | None) -> int | None:
        """Make due again what a dead worker of this host held, and count its death, unless it was told to end (None).

        Returns the sum of `attempts.bury`; None where the database cannot say.
        """
        freed = 0
        try:
            with self._ledger.write() as connection:
                for worker_id in fleet.of_process(connection, socket.gethostname(), pid):
                    units = attempts.bury(connection, worker_id, how)
                    fleet.seen(connection, worker_id, state="stopped", note="died")
                    _log.info("%d units of worker %d are due again", units, worker_id)
                    freed += units
        except LedgerError as error:
            _log.error("%s", error)
            return None
        return freed

    def _look(self) -> bool:
        """Look after the broker and silent workers. True where nothing was due for so long that the daemon ends."""
        try:
            ensure_broker(self._settings)
        except BrokerError as error:
            _log.error("%s", error)
        try:
            with self._ledger.read() as connection:
                host = socket.gethostname()
                # The newest row of a process, since its number may have been another's before.
                states = {row["pid"]: row["state"] for row in status.workers(connection) if row["host"] == host}
                left = status.work_left(connection)
        except LedgerError as error:
            _log.error("%s", error)
            return False
        for seat in self._seats:
            self._watch(seat, states)
        if left or self._idle is None:
            self._busy_at = time.monotonic()
            return False
        return time.monotonic() - self._busy_at > self._idle

    def _watch(self, seat: Seat, states: dict[int, str]) -> None:
        """Kill a worker that is not heard of: one whose batch is past its limit, or that is frozen, or never began."""
        process = seat.process
        if process is None:
            return
        began = time.monotonic() - seat.started_at < START_SECONDS
        silent = states.get(process.pid, "" if began else "lost") == "lost"
        # Two looks, so that a laptop that wakes up does not kill workers whose heartbeat comes a moment later.
        seat.silent_looks = seat.silent_looks + 1 if silent else 0
        if seat.silent_looks > 1:
            _log.error("the %s worker (process %d) is not heard of and is killed", seat.queue, process.pid)
            process.kill()

    def _end_workers(self) -> None:
        """Ask every worker to stop after its present batch, and wait; a second signal kills them."""
        running = [seat.process for seat in self._seats if seat.process is not None and seat.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
        killed = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: killed.set())
        end = time.monotonic() + self._settings.batch_limit + END_SECONDS
        for process in running:
            while process.poll() is None:
                if killed.wait(0.05) or time.monotonic() > end:
                    process.kill()
            self._free(process.pid, None)


def _start(seat: Seat, asked: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "blipq.worker.start", "-q", "-A", "blipq.worker.app", "worker"]
    command += ["-Q", seat.queue]
    command += ["-P", "threads", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command += ["-n", f"{seat.queue}.{seat.number}@%h"]
    # Threads that spin at barriers wait for each other on cores that others use too: tenfold slower, measured.
    environment = (
        {"OMP_WAIT_POLICY": "PASSIVE"}
        | os.environ
        | {"BLIPQ_DEVICE": seat.device, "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    )
    environment |= {SUPERVISOR: str(os.getpid())}
    folder = asked.home if asked.home.is_dir() else Path("/")
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then asks its workers to stop.
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, cwd=folder, process_group=0)


def devices(asked: str) -> list[str]:
    """The devices that a host's workers use: those asked for, else each GPU, else one choice for all."""
    if asked != "auto":
        return asked.split(",")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = len([part for part in visible.split(",") if part.strip() and part.strip() != "-1"])
    else:
        count = sum(1 for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))
    return [f"cuda:{index}" for index in range(count)] or ["auto"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the process; returns its exit status: 0 stopped or idle, 2 a set-up error, 3 another one runs."""
    parser = argparse.ArgumentParser(prog="blipq worker")
    parser.add_argument("--queues", default="caption,train")
    parser.add_argument("--device", default=None)
    parser.add_argument("--idle", type=float, default=None, help="end after so many seconds without work")
    parser.add_argument("--unlocked", action="store_true", help="beside other supervisors of this home")
    asked_for = parser.parse_args(arguments)
    try:
        asked = settings.load()
    except settings.SettingsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    log.configure(asked)
    queues = [queue for queue in asked_for.queues.split(",") if queue]
    lock = DaemonLock(asked.home)
    if not asked_for.unlocked and not lock.take(__version__):
        _log.warning("a daemon runs for %s already", asked.home)
        return 3
    try:
        ledger = open_ledger(asked)
        if asked_for.unlocked:
            migrate.check_schema(ledger)
        else:
            migrate.ensure_schema(ledger)
        ensure_broker(asked)
    except (LedgerError, BrokerError) as error:
        _log.error("%s", error)
        return 2
    with suppress(LedgerError), ledger.write() as connection:
        for queue in queues:
            starts.begun(connection, queue)
    places = devices(asked_for.device or asked.device)
    seats = [
        Seat(queue, device, n) for queue in queues for n, device in enumerate(places) if queue == "caption" or not n
    ]
    while True:
        idle = Supervisor(asked, ledger, seats, asked_for.idle).run()
        # An idle daemon lets go, looks once more, and goes on where work came meanwhile: no enqueue is left unserved.
        lock.release()
        if not idle or not _work_came(ledger) or not lock.take(__version__):
            break
    if not asked_for.unlocked and DaemonLock(asked.home).holder() is None:
        stop_broker(asked)
    return 0


def _work_came(ledger: Ledger) -> bool:
    try:
        with ledger.read() as connection:
            return bool(status.work_left(connection))
    except LedgerError:
        return False


if __name__ == "__main__":
    sys.exit(main())
