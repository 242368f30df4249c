"""The supervisor: keeps one Celery process a queue and device, the embedded broker, and their leases honest.

`python -m blipq.worker.supervisor` is what `blipq up`, `blipq worker` and the local daemon run.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from blipq import __version__, settings
from blipq.models import attempts, fleet, lease, migrate, starts, status
from blipq.models.database import Ledger, LedgerError, open_ledger
from blipq.settings import Settings
from blipq.worker import log
from blipq.worker.broker import BrokerError, ensure_broker, stop_broker
from blipq.worker.lock import DaemonLock
from blipq.worker.pulse import LOOK_SECONDS
from blipq.worker.reasons import ending
from blipq.worker.seat import Death, Seat
from blipq.worker.start import CRASHED

TICK_SECONDS = 0.1
END_SECONDS = 30.0  # more than its batch may take, for a worker to end when it is asked to
JOIN_SECONDS = 5.0  # for the threads to end, one of which may wait for a database that hangs
_log = logging.getLogger(__name__)


class Supervisor:
    """Starts, restarts, kills and stops the workers of one host.

    The workers are tended from a thread of their own, so that one that died gives its units back at once even while the
    main thread waits for a broker that hangs; and watched from another, which no database that hangs holds up. The
    broker is the main thread's: Linux ends it with who started it.
    """

    def __init__(self, asked: Settings, ledger: Ledger, seats: Sequence[Seat], idle: float | None) -> None:
        self._settings = asked
        self._ledger = ledger
        self._seats = seats
        self._idle = idle
        self._stop = threading.Event()
        self._busy_at = time.monotonic()
        self._halted: set[str] = set()  # of reading and writing

    def run(self) -> bool:
        """Keep the workers until told to stop (SIGTERM, SIGINT); True where nothing was due for the idle time."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        threads = [
            threading.Thread(target=self._each, args=(self._tend, TICK_SECONDS), name="workers", daemon=True),
            threading.Thread(target=self._each, args=(self._watch, LOOK_SECONDS), name="pulses", daemon=True),
            threading.Thread(target=self._look_for_work, name="work", daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.wait(LOOK_SECONDS):
                try:
                    ensure_broker(self._settings)
                except BrokerError as error:
                    _log.error("%s", error)
                if self._idle is not None and time.monotonic() - self._busy_at > self._idle:
                    return True
            return False
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(JOIN_SECONDS)
            self._end_workers()

    def _each(self, act: Callable[[Seat], None], seconds: float) -> None:
        while not self._stop.is_set():
            for seat in self._seats:
                try:
                    act(seat)
                except Exception:
                    _log.exception("the %s worker cannot be tended", seat.queue)
            self._stop.wait(seconds)

    def _tend(self, seat: Seat) -> None:
        """Start the seat's worker, or reap it: its leases are free at once."""
        if seat.process is None:
            if not self._stop.is_set():
                seat.start(self._settings)
            return
        known = seat.death is not None
        exit_status = seat.exit_status()
        if exit_status is None or seat.death is None:
            return
        if not known:
            _log.error("the %s worker (process %d) %s", seat.queue, seat.process.pid, ending(exit_status))
        freed = self._free(seat.death, ending(exit_status))
        if freed is None:
            return  # the database cannot be reached: try again, before anything new is started
        pid = seat.process.pid
        if seat.vacate(had_work=freed > 0) and exit_status not in (0, CRASHED):  # after these it spoke for itself
            self._tell(seat, pid, exit_status)

    def _tell(self, seat: Seat, pid: int, exit_status: int) -> None:
        """Note that a worker ended before it did anything, and could not say why."""
        why = f"its process {ending(exit_status)}; the log says more"
        try:
            with self._ledger.write() as connection:
                starts.failed(connection, queue=seat.queue, device=seat.device, reason=why, pid=pid)
        except LedgerError as error:
            _log.error("%s", error)

    def _free(self, death: Death, how: str, *, told: bool = False) -> int | None:
        """Make due again what a dead worker held, and count its death, unless it was told to end.

        Returns what `attempts.bury` does; None where the database cannot say.
        """
        worker_id = death.vitals.worker_id
        try:
            with self._ledger.write() as connection:
                if told:
                    lease.release(connection, worker_id, preempted=True)
                blamed = None if told or death.is_doubtful() else how
                freed = attempts.bury(connection, worker_id, blamed, death.guilty())
                fleet.died(connection, worker_id)
        except LedgerError as error:
            death.doubtful = True
            self._halt("write", error)
            return None
        self._reached("write")
        _log.info("%d units of worker %d are due again", freed, worker_id)
        return freed

    def _watch(self, seat: Seat) -> None:
        """Kill a worker that gives no sign of life: one that is frozen, or never began. One without a database does."""
        process = seat.process
        if process is not None and seat.monitor.has_stopped() and process.poll() is None:
            _log.error("the %s worker (process %d) gives no sign of life and is killed", seat.queue, process.pid)
            process.kill()

    def _look_for_work(self) -> None:
        """Note when there was something to do; where the ledger cannot say there may be."""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                with self._ledger.read() as connection:
                    left = bool(status.work_left(connection))
                self._reached("read")
            except LedgerError as error:
                self._halt("read", error)
                left = True
            except Exception:
                _log.exception("nobody can say whether there is work")
                left = True
            if left:
                self._busy_at = time.monotonic()

    def _halt(self, what: str, error: LedgerError) -> None:
        if not self._halted:
            _log.error("%s; the workers live, and go on by themselves", error)
        self._halted.add(what)

    def _reached(self, what: str) -> None:
        if what in self._halted:
            self._halted.remove(what)
            if not self._halted:
                _log.info("the database can be reached again")

    def _end_workers(self) -> None:
        """Ask every worker to stop after its present batch, and wait; a second signal kills them."""
        running = [seat for seat in self._seats if seat.process is not None and seat.exit_status() is None]
        for seat in running:
            _signal(seat, signal.SIGTERM)
            _signal(seat, signal.SIGCONT)
        killed = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: killed.set())
        end = time.monotonic() + self._settings.batch_limit + END_SECONDS
        for seat in running:
            while seat.exit_status() is None:
                if killed.wait(0.05) or time.monotonic() > end:
                    _signal(seat, signal.SIGKILL)
            if seat.death is not None:
                self._free(seat.death, "was told to end", told=killed.is_set())


def _signal(seat: Seat, number: signal.Signals) -> None:
    if seat.process is not None:
        seat.process.send_signal(number)


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
