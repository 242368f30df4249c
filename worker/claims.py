"""What a worker has claimed: which job's turn it is, its units' leases, and giving them back."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection

from sqlalchemy import Connection, select

from blipq.models import control, lease, results
from blipq.models.database import LedgerError
from blipq.models.lease import DueJob, Lease
from blipq.models.results import Work
from blipq.models.schema import upload
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.model_cache import ModelCache
from blipq.worker.orders import Order
from blipq.worker.readiness import Readiness
from blipq.worker.standing import Standing
from blipq.worker.task import Task

QUANTUM_LOADS = 10  # a loaded model goes on for ten times what loading another costs
AHEAD = 2  # batches that are claimed: one on the model, one being decoded
HALTED_SECONDS = 2.0  # between two looks whether the database can be written again
_log = logging.getLogger(__name__)


class Claims:
    """The leases of a worker's caption units, and the orders behind them. Used by the model's thread alone."""

    def __init__(self, standing: Standing, settings: Settings, models: ModelCache, sizes: BatchSizes) -> None:
        self._standing = standing
        self._ledger = standing.ledger
        self._settings = settings
        self._models = models
        self._sizes = sizes
        self._readiness = Readiness(standing, models, sizes)
        self._orders: dict[int, Order] = {}
        self._leases: dict[int, Lease] = {}
        self._suspect = False  # held alone: nothing is claimed beside it
        self.doubted: set[int] = set()  # jobs with attempts that came to nothing, until something comes of them

    def more(self, in_hand: int, most_urgent: int | None) -> list[Task] | None:
        """Claim until two batches are in hand, and beyond that what is more urgent.

        None where nothing more is to be begun: the queue is paused, or the worker stops.
        """
        claimed: list[Task] = []
        while True:
            if self._standing.stopping.is_set():
                return None
            with self._ledger.glance() as connection:
                due = lease.due(connection, "caption")
                self._keep_orders(due)
                if not due and control.is_paused(connection, "caption"):
                    return None
            choice = self._choose(self._readiness.able(due))
            if choice is None or self._suspect:
                break
            if choice.doubts:
                self.doubted.add(choice.job_id)
                if self._leases and choice.job_id not in self._orders:
                    break  # what is in hand first: its model may kill this process
            order = self._order(choice)
            if order is None:
                continue  # it cannot be done now: its row says why, and it is no longer due
            wanted = AHEAD * self._sizes.of(order) - in_hand - len(claimed)
            if wanted <= 0 and (most_urgent is None or order.priority <= most_urgent):
                break
            tasks = self._claim(order, max(1, wanted))
            if not tasks:
                break
            claimed += tasks
            most_urgent = max(order.priority, order.priority if most_urgent is None else most_urgent)
        return claimed

    def forget_ended(self, busy: Collection[int]) -> None:
        """Stop keeping units of which no picture is on its way any more."""
        self.forget([unit_id for unit_id in self._leases if unit_id not in busy])

    def forget(self, unit_ids: Collection[int]) -> None:
        """Stop keeping units: they ended or are no longer ours."""
        for unit_id in unit_ids:
            self._leases.pop(unit_id, None)
        self._standing.let_go(unit_ids)
        if not self._leases:
            self._suspect = False

    def unwanted(self) -> set[int]:
        """Let go of units that were lost, or whose job is over: cancelled, failed. Returns their ids."""
        with self._ledger.glance() as connection:
            wanted = lease.wanted(connection, self._leases.values())
        gone = [one for one in self._leases.values() if one.unit_id not in wanted]
        if gone:
            with self._ledger.write() as connection:
                lease.hand_back(connection, gone)  # nothing where they were lost
            self.forget([one.unit_id for one in gone])
        return {one.unit_id for one in gone}

    def leave(self, *, preempted: bool = False) -> None:
        """Give back all that the ledger says is ours, which may be more than we know of; waits until it can be written.

        Otherwise what was handed back in vain would stay ours until its lease runs out, and count as lapsed.
        """
        self.forget(list(self._leases))
        while True:
            try:
                with self._ledger.write() as connection:
                    lease.release(connection, self._standing.worker_id, preempted=preempted)
                return
            except LedgerError as error:
                _log.error("halted: %s", error)
                if self._standing.stopping.wait(HALTED_SECONDS):
                    raise

    def postpone(self, job_id: int, seconds: float, note: str) -> set[int]:
        """Give back a job's units and let it wait, then those units somewhat longer. Returns the units' ids.

        So its other units are tried first: where one can be read, the disk is there and these files are not.
        """
        with self._ledger.write() as connection:
            lease.postpone(connection, job_id, seconds, note)
        return self.hand_back_job(job_id, 2 * seconds)

    def hand_back_job(self, job_id: int, after: float = 0) -> set[int]:
        """Give back a job's units. Returns their ids."""
        held = {one.unit_id: one for one in self._leases.values() if one.job_id == job_id}
        with self._ledger.write() as connection:
            lease.hand_back(connection, list(held.values()), after)
        self.forget(held)
        return set(held)

    def _keep_orders(self, due: Collection[DueJob]) -> None:
        """Keep the orders of jobs that are due or on their way, and no others: a worker lives for months."""
        wanted = {one.job_id for one in due} | {one.job_id for one in self._leases.values()}
        for job_id in self._orders.keys() - wanted:
            del self._orders[job_id]

    def _choose(self, due: list[DueJob]) -> DueJob | None:
        """The first job by priority and turn; but while its quantum lasts, one of that priority for a loaded model."""
        if not due:
            return None
        first = due[0]
        if time.monotonic() - self._models.loaded_at < QUANTUM_LOADS * self._models.last_load:
            for other in due:
                known = self._orders.get(other.job_id)
                if other.priority == first.priority and known is not None and self._models.holds(known.kind):
                    return other
        return first

    def _order(self, due: DueJob) -> Order | None:
        known = self._orders.get(due.job_id)
        if known is None or not self._models.holds(known.kind):
            known = self._readiness.make(due)
            if known is not None:
                self._orders[due.job_id] = known
        return known

    def _claim(self, order: Order, wanted: int) -> list[Task]:
        def take(connection: Connection) -> tuple[list[Lease], list[Work], dict[int, bytes]]:
            claimed = lease.claim(
                connection,
                self._standing.worker_id,
                order.job_id,
                self._settings.lease,
                wanted,
                alone=not self._leases,
            )
            works = results.read_work(connection, claimed, order.recipe_id, again=order.again) if claimed else []
            return claimed, works, _uploads(connection, works)

        claimed, works, data = self._ledger.transact(take)
        if not claimed:
            return []
        self._standing.hold(claimed)
        self._leases.update((one.unit_id, one) for one in claimed)
        self._suspect = any(one.suspect for one in claimed)
        return [Task(order, work, data.get(work.file_id)) for work in works]


def _uploads(connection: Connection, works: Collection[Work]) -> dict[int, bytes]:
    """The bytes of pictures that came by HTTP."""
    ids = [work.file_id for work in works if work.path.startswith("upload:")]
    if not ids:
        return {}
    rows = connection.execute(select(upload.c.file_id, upload.c.data).where(upload.c.file_id.in_(ids)))
    return {row.file_id: bytes(row.data) for row in rows}
