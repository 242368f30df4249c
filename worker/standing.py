"""A worker process's standing in the ledger: who it is, what it holds, that it lives, and what is due."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from blipq.models import control, fleet, lease
from blipq.models.database import Ledger, LedgerError
from blipq.models.lease import Lease
from blipq.settings import Settings
from blipq.worker.app import is_silent, ring
from blipq.worker.broker import BrokerError
from blipq.worker.supervisor import SUPERVISOR

BEAT_SECONDS = 5.0
SWEEP_SECONDS = (1.0, 2.0)
HUNG = 71  # our exit status when a batch was past its limit

_log = logging.getLogger(__name__)


class Standing:
    """Keeps a worker's row and leases alive from a thread of its own, and looks after what others left behind.

    A batch (or step) that is older than its limit ends the process: a device that hangs must not keep a lease for ever.
    Where even this thread hangs, its heartbeat does too, and the supervisor kills a worker that is not heard of.
    """

    def __init__(self, ledger: Ledger, settings: Settings, queue: str, device: str | None, versions: str) -> None:
        self.ledger = ledger
        self.settings = settings
        self.queue = queue
        self.stopping = threading.Event()
        self._ended = threading.Event()
        with ledger.write() as connection:
            self.worker_id = fleet.register(connection, queue=queue, device=device, versions=versions)
        self._parent = int(os.environ.get(SUPERVISOR, os.getppid()))
        self._held: dict[int, Lease] = {}
        self._lost: set[int] = set()
        self._lock = threading.Lock()
        self._busy_since: float | None = None
        self._changes: dict[str, Any] = {"state": "idle"}
        self._halted = False
        self._threads = [
            # The last batch may take long: its leases are kept until the very end.
            threading.Thread(target=self._every, args=(_beat_every, self.beat, self._ended), name="heartbeat"),
            threading.Thread(target=self._every, args=(_sweep_every, self.sweep, self.stopping), name="sweeper"),
        ]
        self.idle_calls: list[Callable[[], None]] = []  # what the sweeper does besides, such as unloading a model

    def start(self) -> None:
        """Begin to beat and sweep."""
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def hold(self, leases: Collection[Lease]) -> None:
        """Keep these leases alive from now on."""
        with self._lock:
            self._held.update((lease.unit_id, lease) for lease in leases)

    def let_go(self, unit_ids: Collection[int]) -> None:
        """Stop keeping leases alive: their units ended, were handed back or were lost."""
        with self._lock:
            for unit_id in unit_ids:
                self._held.pop(unit_id, None)
                self._lost.discard(unit_id)

    def lost(self) -> set[int]:
        """Units that the heartbeat found to be no longer ours."""
        with self._lock:
            return set(self._lost)

    def busy(self) -> None:
        """A batch (or step) begins: the limit of its time counts from now."""
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        """Nothing runs on the device."""
        self._busy_since = None

    def show(self, **changes: Any) -> None:
        """Change what `status` says about this worker, at the next heartbeat."""
        with self._lock:
            self._changes.update(changes)

    def beat(self) -> None:
        """Say that this worker lives, and extend its leases."""
        if os.getppid() != self._parent and not self.stopping.is_set():
            _log.error("the supervisor is gone: this worker ends after its batch")
            os.kill(os.getpid(), signal.SIGTERM)
        limit = self.settings.batch_limit
        if self._busy_since is not None and time.monotonic() - self._busy_since > limit:
            _log.error("a batch hangs for more than %g s (BLIPQ_BATCH_LIMIT): the worker ends", limit)
            os._exit(HUNG)
        with self._lock:
            changes, self._changes = self._changes, {}
            held = list(self._held.values())
        try:
            with self.ledger.write() as connection:
                fleet.seen(connection, self.worker_id, **changes)
                ours = lease.renew(connection, held, self.settings.lease)
        except LedgerError as error:
            with self._lock:
                self._changes = {**changes, **self._changes}
            self._halt(error)
            return
        if self._halted:
            self._halted = False
            _log.info("the database can be written again")
        with self._lock:
            self._lost |= {held_lease.unit_id for held_lease in held if held_lease.unit_id not in ours} & set(
                self._held
            )

    def sweep(self) -> None:
        """Free what dead workers held, cancel what nobody waits for, and ring when work is due and no bell waits."""
        try:
            with self.ledger.read() as connection:
                restless = lease.restless(connection, self.queue)
            if restless:
                self.ledger.transact(lambda connection: lease.sweep(connection, self.queue))
                while self.ledger.transact(control.cancel_overdue) is not None:
                    pass
                for job_id in self.ledger.transact(control.close_abandoned):
                    _log.warning("job %d: its folder was not read to the end; enqueue it again", job_id)
            with self.ledger.read() as connection:
                due = lease.bell(connection, self.queue, limit=1)
            if due and is_silent(self.settings, self.queue):
                ring(self.settings, self.queue, due)
        except (LedgerError, BrokerError) as error:
            _log.warning("%s", error)
        for call in self.idle_calls:
            call()

    def end(self) -> None:
        """Take leave: the row says that this worker stopped by itself."""
        self.stopping.set()
        self._ended.set()
        try:
            with self.ledger.write() as connection:
                fleet.seen(connection, self.worker_id, state="stopped", model=None, rate=None)
        except LedgerError as error:
            _log.warning("%s", error)

    def _halt(self, error: LedgerError) -> None:
        if not self._halted:
            self._halted = True
            _log.error("halted: %s", error)

    def _every(self, seconds: Callable[[Settings], float], act: Callable[[], None], until: threading.Event) -> None:
        while not until.wait(seconds(self.settings)):
            try:
                act()
            except Exception:
                _log.exception("%s", threading.current_thread().name)


def _beat_every(settings: Settings) -> float:
    return min(BEAT_SECONDS, settings.lease / 3)


def _sweep_every(settings: Settings) -> float:
    return random.uniform(*SWEEP_SECONDS)  # jittered, so that many workers do not sweep at once
