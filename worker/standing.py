"""A worker process's standing in the ledger: who it is, what it holds, that it lives, and what is due."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Collection
from typing import Any

from blipq.models import control, fleet, lease
from blipq.models.database import Ledger, LedgerError
from blipq.models.lease import Lease
from blipq.settings import Settings
from blipq.worker.app import is_silent, ring
from blipq.worker.broker import BrokerError
from blipq.worker.pulse import Pulse
from blipq.worker.sight import Sight

SWEEP_SECONDS = (1.0, 2.0)
HALTED_SECONDS = 1.0  # between two heartbeats while the database is away: leases are renewed as soon as it is back

_log = logging.getLogger(__name__)


class Standing:
    """Keeps a worker's row and leases alive from a thread of its own, and looks after what others left behind."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        queue: str,
        device: str | None,
        versions: str,
        pulse: Pulse | None = None,
        sight: Sight | None = None,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.queue = queue
        self.pulse = pulse or Pulse(settings.batch_limit)
        self.sight = sight or Sight(settings.lease)
        self.stopping = threading.Event()
        self._ended = threading.Event()
        with ledger.write() as connection:
            self.worker_id = fleet.register(connection, queue=queue, device=device, versions=versions)
        self.pulse.name(self.worker_id)
        self.sight.wrote()
        self._held: dict[int, Lease] = {}
        self._lost: set[int] = set()
        self._lock = threading.Lock()
        self._changes: dict[str, Any] = {"state": "idle"}
        self._halted = False
        self._threads = [
            # The last batch may take long: its leases are kept until the very end.
            threading.Thread(target=self._every, args=(self._beat_every, self.beat, self._ended), name="heartbeat"),
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

    def show(self, **changes: Any) -> None:
        """Change what `status` says about this worker, at the next heartbeat."""
        with self._lock:
            self._changes.update(changes)

    def beat(self) -> None:
        """Say that this worker lives, and extend its leases."""
        with self._lock:
            changes, self._changes = self._changes, {}
            held = list(self._held.values())
        try:
            with self.ledger.write() as connection:
                ours = lease.renew(connection, held, self.settings.lease)  # units before workers, as everybody
                fleet.seen(connection, self.worker_id, **changes)
        except LedgerError as error:
            with self._lock:
                self._changes = {**changes, **self._changes}
            self._halt(error)
            return
        self.sight.wrote()
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
                if self.sight.is_clear():
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
        self.sight.failed()
        if not self._halted:
            self._halted = True
            _log.error("halted: %s", error)

    def _beat_every(self) -> float:
        return min(HALTED_SECONDS, self.sight.beat_seconds) if self._halted else self.sight.beat_seconds

    def _every(self, seconds: Callable[[], float], act: Callable[[], None], until: threading.Event) -> None:
        while not until.wait(seconds()):
            try:
                act()
            except Exception:
                _log.exception("%s", threading.current_thread().name)


def _sweep_every() -> float:
    return random.uniform(*SWEEP_SECONDS)  # jittered, so that many workers do not sweep at once
