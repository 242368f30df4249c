"""The captioning loop: batch after batch from the feed through the model into the ledger, until nothing is due."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from blipq.models import lease, results
from blipq.models.database import LedgerError
from blipq.models.results import Captioned, Content, Origin
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.claims import Claims
from blipq.worker.engine.picture import Limits
from blipq.worker.engine.pool import DecodePool
from blipq.worker.feed import Batch, Feed
from blipq.worker.model_cache import ModelCache
from blipq.worker.quality import flag
from blipq.worker.standing import Standing
from blipq.worker.task import Settled, Task

if TYPE_CHECKING:
    from blipq.worker.engine.captioner import Captioner
    from blipq.worker.engine.decoding import Caption

HALTED_SECONDS = 2.0  # between two looks whether the database can be written again
MEMORY_AGAIN_SECONDS = 30.0
RATE_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Captioning:
    """The model's thread at work: one to a process, as there is one device to a process."""

    def __init__(self, standing: Standing, settings: Settings) -> None:
        self._standing = standing
        self._ledger = standing.ledger
        self._settings = settings
        self._models = ModelCache(standing.ledger, settings, standing.show)
        self._sizes = BatchSizes(standing.ledger, settings.batch_size)
        self._limits = Limits(settings.max_pixels, settings.max_bytes, settings.decode_memory, settings.decode_seconds)
        self._pool: DecodePool | None = None
        self._recent: deque[tuple[float, int]] = deque()
        standing.idle_calls.append(self._models.unload_idle)

    def drain(self) -> None:
        """Caption all that is due. Returns when nothing is, when the queue is paused, or when the worker stops."""
        if self._pool is None:
            self._pool = DecodePool(self._settings.decode_processes or _cores(), self._limits)
        claims = Claims(self._standing, self._settings, self._models, self._sizes)
        feed = Feed(self._ledger, self._settings, claims, self._models, self._sizes, self._pool)
        with self._models.lock:
            self._standing.show(state="running")
            try:
                self._run(feed)
            finally:
                self._standing.idle()
                self._standing.show(state="idle", rate=None)
                claims.hand_back()

    def close(self) -> None:
        """End the decode processes and unload the models."""
        if self._pool is not None:
            self._pool.close()
        self._models.close()

    def _run(self, feed: Feed) -> None:
        while not self._standing.stopping.is_set():
            feed.drop(self._standing.lost())
            batch = feed.next_batch()
            if batch is None:
                return
            settled = [*batch.settled, *self._caption(feed, batch)]
            self._store(feed, settled)

    def _caption(self, feed: Feed, batch: Batch) -> list[Settled]:
        """Run the model over a batch, each content once; halves the batch when memory runs out."""
        if not batch.tasks:
            return []
        first, later, settled = self._once_each(batch.tasks)
        if not first:
            return settled
        captioner = self._models.get(first[0].order.kind)
        captions = self._run_model(feed, captioner, first, later)
        if captions is None:
            return settled
        for task, caption in zip(first, captions, strict=True):
            settled.append((task.order, _outcome(task, caption, captioner.precision)))
        for task in later:
            settled.append((task.order, Captioned(task.work, _content(task), None)))
        return settled

    def _once_each(self, tasks: Sequence[Task]) -> tuple[list[Task], list[Task], list[Settled]]:
        """Tasks to run, tasks whose content another of them covers, and those that have a caption by now."""
        first: dict[tuple[int, bytes], Task] = {}
        later = []
        settled: list[Settled] = []
        known = self._known(tasks)
        for task in tasks:
            assert task.picture is not None
            key = (task.order.recipe_id, task.picture.sha256)
            if key in known:
                settled.append((task.order, Captioned(task.work, _content(task), None)))
            elif key in first:
                later.append(task)
            else:
                first[key] = task
        return list(first.values()), later, settled

    def _known(self, tasks: Sequence[Task]) -> set[tuple[int, bytes]]:
        by_recipe: dict[int, list[bytes]] = defaultdict(list)
        for task in tasks:
            if not task.order.again and task.picture is not None:
                by_recipe[task.order.recipe_id].append(task.picture.sha256)
        with self._ledger.read() as connection:
            return {
                (recipe_id, sha256)
                for recipe_id, hashes in by_recipe.items()
                for sha256 in results.captioned_contents(connection, recipe_id, hashes)
            }

    def _run_model(
        self, feed: Feed, captioner: Captioner, tasks: Sequence[Task], later: Sequence[Task]
    ) -> list[Caption] | None:
        """Captions of the tasks; None where memory ran out (they come again) or the order cannot be done (it fails)."""
        from blipq.worker.engine.captioner import OutOfMemory

        pixels = np.stack([task.picture.pixels for task in tasks if task.picture is not None])
        self._standing.busy()
        try:
            return captioner.caption(
                pixels,
                [task.order.prompt for task in tasks],
                tasks[0].order.kind.decoding,
                [_seed(task) for task in tasks],
            )
        except ValueError as error:  # the order asks what this model cannot do, such as a prompt longer than its text
            self._refuse(feed, tasks, str(error))
            return None
        except OutOfMemory:
            if len(tasks) == 1:
                _log.warning("no memory for a single picture: waiting %g s", MEMORY_AGAIN_SECONDS)
                self._standing.stopping.wait(MEMORY_AGAIN_SECONDS)
            else:
                self._sizes.halve(tasks[0].order, captioner, len(tasks))
            feed.put_back([*tasks, *later])
            return None
        finally:
            self._standing.idle()

    def _refuse(self, feed: Feed, tasks: Sequence[Task], reason: str) -> None:
        """Fail the jobs of a batch that the model cannot do as it was asked."""
        with self._ledger.write() as connection:
            for job_id in {task.order.job_id for task in tasks}:
                lease.fail_job(connection, job_id, reason)
        feed.give_up({task.order.job_id for task in tasks})

    def _store(self, feed: Feed, settled: Sequence[Settled]) -> None:
        """Write what was settled, one commit; waits while the database cannot be written."""
        by_origin = sorted(settled, key=_origin)
        units = {outcome.work.lease.unit_id for _, outcome in settled}
        while True:
            try:
                with self._ledger.write() as connection:
                    held: set[int] = set()
                    for (recipe_id, again), part in groupby(by_origin, key=_origin):
                        origin = Origin(recipe_id, self._standing.worker_id, again)
                        held |= results.store(connection, [o for _, o in part], origin, self._settings.lease)
                break
            except LedgerError as error:
                _log.error("halted: %s", error)
                if self._standing.stopping.wait(HALTED_SECONDS):
                    raise
        feed.after_store(units - held)
        self._count(sum(1 for _, outcome in settled if isinstance(outcome, Captioned)))

    def _count(self, pictures: int) -> None:
        now = time.monotonic()
        self._recent.append((now, pictures))
        while now - self._recent[0][0] > RATE_SECONDS:
            self._recent.popleft()
        since = now - self._recent[0][0]
        if since > 1:
            self._standing.show(rate=sum(n for _, n in list(self._recent)[1:]) / since)


def _origin(settled: Settled) -> tuple[int, bool]:
    return settled[0].recipe_id, settled[0].again


def _outcome(task: Task, caption: Caption, precision: str) -> Captioned:
    looks = flag(caption.text, task.order.prompt, caption.score, cut=caption.cut)
    return Captioned(task.work, _content(task), caption.text, caption.score, looks, precision)


def _content(task: Task) -> Content:
    assert task.picture is not None
    return Content(task.picture.sha256, task.picture.width, task.picture.height, task.picture.format)


def _seed(task: Task) -> int:
    """A picture's own seed: what is sampled for it depends on the recipe and its content, never on its batch."""
    assert task.picture is not None
    mixed = hashlib.sha256(task.order.seed.to_bytes(8, "big", signed=True) + task.picture.sha256).digest()
    return int.from_bytes(mixed[:8], "big") >> 1


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
