"""The writer: stores what batches settled, from a thread of its own, beside the next batch where batches are short."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

from blipq.models import results
from blipq.models.database import LedgerError
from blipq.models.results import Captioned, Failed, Origin
from blipq.worker.claims import HALTED_SECONDS
from blipq.worker.standing import Standing
from blipq.worker.task import Settled

SHORT_SECONDS = 0.1  # a batch that takes less does not wait for its 5 to 50 ms of writing
UNWRITTEN = 2  # short batches that may lie unwritten while the model goes on: what a kill costs beside the batch on it
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Unwritten:
    settled: Sequence[Settled]
    captions: Mapping[tuple[int, bytes], Captioned]  # by recipe and content
    lost: Future[set[int]]  # units that were no longer ours when it was written


class Writer:
    """Writes in the order in which it is given. Used by the model's thread alone."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._unwritten: deque[_Unwritten] = deque()

    def put(self, settled: Sequence[Settled], seconds: float) -> set[int]:
        """Store what a batch settled, which took some seconds; waits where that is long enough to be worth it.

        Returns the units of what was written meanwhile that were lost: nothing of them was stored.
        """
        if settled:
            self._unwritten.append(_Unwritten(settled, _captions(settled), self._thread.submit(self._store, settled)))
        return self._collect(UNWRITTEN if seconds < SHORT_SECONDS else 0)

    def flush(self) -> set[int]:
        """Wait until all is written; returns units as `put` does. Raises LedgerError where the worker has to stop."""
        return self._collect(0)

    def units(self) -> set[int]:
        """Units of which something is not written yet."""
        return {outcome.work.lease.unit_id for one in self._unwritten for _, outcome in one.settled}

    def caption(self, recipe_id: int, sha256: bytes) -> Captioned | None:
        """The caption of a content that is not written yet."""
        for one in self._unwritten:
            if (found := one.captions.get((recipe_id, sha256))) is not None:
                return found
        return None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _collect(self, most: int) -> set[int]:
        gone: set[int] = set()
        while self._unwritten and (len(self._unwritten) > most or self._unwritten[0].lost.done()):
            gone |= self._unwritten.popleft().lost.result()
        return gone

    def _store(self, settled: Sequence[Settled]) -> set[int]:
        """The units that were lost. One commit a recipe: two in one could lock contents in two orders, and deadlock."""
        held: set[int] = set()
        for (recipe_id, again), part in groupby(sorted(settled, key=_origin), key=_origin):
            outcomes = [outcome for _, outcome in part]
            held |= self._store_part(outcomes, Origin(recipe_id, self._standing.worker_id, again))
        return {outcome.work.lease.unit_id for _, outcome in settled} - held

    def _store_part(self, outcomes: Sequence[Captioned | Failed], origin: Origin) -> set[int]:
        """Waits while the database cannot be written."""
        while True:
            try:
                return self._standing.ledger.transact(
                    lambda connection: results.store(connection, outcomes, origin, self._standing.settings.lease)
                )
            except LedgerError as error:
                _log.error("halted: %s", error)
                if self._standing.stopping.wait(HALTED_SECONDS):
                    raise


def _captions(settled: Sequence[Settled]) -> dict[tuple[int, bytes], Captioned]:
    return {
        (order.recipe_id, outcome.content.sha256): outcome
        for order, outcome in settled
        if isinstance(outcome, Captioned) and outcome.text is not None and outcome.content is not None
    }


def _origin(settled: Settled) -> tuple[int, bool]:
    return settled[0].recipe_id, settled[0].again
