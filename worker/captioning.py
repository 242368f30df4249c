"""The captioning loop: batch after batch from the feed through the model into the ledger, until nothing is due."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from blipq.models import lease, results
from blipq.models.database import LedgerError
from blipq.models.results import Captioned, Content
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.claims import Claims
from blipq.worker.engine.errors import OutOfMemory
from blipq.worker.engine.picture import Limits
from blipq.worker.engine.pool import DecodePool, NoDecoder
from blipq.worker.feed import Batch, Feed
from blipq.worker.model_cache import ModelCache
from blipq.worker.orders import Order
from blipq.worker.quality import flag
from blipq.worker.standing import Standing
from blipq.worker.storage import Storage
from blipq.worker.task import Settled, Task
from blipq.worker.writer import Writer

if TYPE_CHECKING:
    from blipq.worker.engine.captioner import Captioner
    from blipq.worker.engine.decoding import Caption

MEMORY_AGAIN_SECONDS = 30.0
DECODER_AGAIN_SECONDS = 10.0
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
        self._storage = Storage()
        self._writer = Writer(standing)
        self._recent: deque[tuple[float, int]] = deque()
        standing.idle_calls.append(self._models.unload_idle)

    def drain(self) -> None:
        """Caption all that is due. Returns when nothing is, when the queue is paused, or when the worker stops."""
        if self._pool is None:
            self._pool = DecodePool(self._settings.decode_processes or _cores(), self._limits)
        claims = Claims(self._standing, self._settings, self._models, self._sizes)
        self._storage.clear()
        feed = Feed(self._ledger, self._settings, claims, self._models, self._sizes, self._pool, self._storage)
        with self._models.lock:
            self._standing.show(state="running")
            preempted = True
            try:
                self._run(feed)
            except LedgerError as error:
                preempted = False
                _log.error("halted: %s", error)
            except NoDecoder as error:  # memory or processes are short just now: no picture's fault
                preempted = False
                _log.error("%s: waiting %g s", error, DECODER_AGAIN_SECONDS)
                claims.leave()
                self._standing.stopping.wait(DECODER_AGAIN_SECONDS)
            finally:
                self._standing.show(state="idle", rate=None)
            # Not after an error that nobody expected: that is a crash, and counts as one.
            claims.leave(preempted=preempted)

    def close(self) -> None:
        """End the decode processes and the writer, and unload the models."""
        if self._pool is not None:
            self._pool.close()
        self._writer.close()
        self._models.close()

    def _run(self, feed: Feed) -> None:
        try:
            while not self._standing.stopping.is_set():
                batch = feed.next_batch()
                if batch is None:
                    return
                began = time.monotonic()
                settled = [*batch.settled, *self._caption(feed, batch)]
                gone = self._writer.put(settled, time.monotonic() - began)
                feed.after_store(gone, self._writer.units())
                self._count(sum(1 for _, outcome in settled if isinstance(outcome, Captioned)))
        finally:
            self._writer.flush()

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
        made = {}
        for task, caption in zip(first, captions, strict=True):
            made[_key(task)] = _outcome(task, caption, captioner.precision)
            settled.append((task.order, made[_key(task)]))
        for task in later:
            # With the caption, not a mere note that there is one: the other's unit may be lost before it is written.
            settled.append((task.order, replace(made[_key(task)], work=task.work)))
        return settled

    def _once_each(self, tasks: Sequence[Task]) -> tuple[list[Task], list[Task], list[Settled]]:
        """Tasks to run, tasks whose content another of them covers, and those that have a caption by now."""
        first: dict[tuple[int, bytes], Task] = {}
        later = []
        settled: list[Settled] = []
        known = self._known(tasks)
        for task in tasks:
            key = _key(task)
            if (unwritten := self._writer.caption(*key)) is not None:
                settled.append((task.order, replace(unwritten, work=task.work)))
            elif key in known:
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
        with self._ledger.glance() as connection:
            return {
                (recipe_id, sha256)
                for recipe_id, hashes in by_recipe.items()
                for sha256 in results.captioned_contents(connection, recipe_id, hashes)
            }

    def _run_model(
        self, feed: Feed, captioner: Captioner, tasks: Sequence[Task], later: Sequence[Task]
    ) -> list[Caption] | None:
        """Captions of the tasks; None where memory ran out (they come again) or the order cannot be done (it fails)."""
        pixels = np.stack([task.picture.pixels for task in tasks if task.picture is not None])
        self._standing.pulse.busy({task.work.lease.unit_id for task in tasks})
        try:
            captions = captioner.caption(
                pixels,
                [task.order.prompt for task in tasks],
                tasks[0].order.kind.decoding,
                [_seed(task) for task in tasks],
            )
        except ValueError as error:  # the order asks what this model cannot do, such as a prompt longer than its text
            self._standing.pulse.idle()
            self._refuse(feed, captioner, [*tasks, *later], error)
            return None
        except OutOfMemory as error:
            self._standing.pulse.idle()
            self._step_back(tasks, error)
            feed.put_back([*tasks, *later])
            return None
        # Not after an error that nobody expected: it is blamed on what was on the model.
        self._standing.pulse.idle()
        return captions

    def _step_back(self, tasks: Sequence[Task], error: OutOfMemory) -> None:
        """Memory ran out: a smaller batch, or for a single picture the other models' room, or some patience."""
        kind = tasks[0].order.kind
        if len(tasks) > 1:
            self._sizes.halve(tasks[0].order, len(tasks))
        elif not self._models.unload_others(kind):
            self._standing.show(note=f"no memory for a single picture: {error}")
            _log.warning("no memory for a single picture: waiting %g s", MEMORY_AGAIN_SECONDS)
            self._standing.stopping.wait(MEMORY_AGAIN_SECONDS)
            self._standing.show(note=None)

    def _refuse(self, feed: Feed, captioner: Captioner, tasks: Sequence[Task], error: ValueError) -> None:
        """Fail the jobs of a batch that the model cannot do as they were asked; others' pictures only rode along."""
        jobs = {task.order.job_id: task.order for task in tasks}
        refused = {job_id: said for job_id, order in jobs.items() if (said := self._refusal(captioner, order))}
        if len(jobs) == 1:
            refused = dict.fromkeys(jobs, str(error))
        if not refused:
            raise error
        with self._ledger.write() as connection:
            for job_id, reason in refused.items():
                lease.fail_job(connection, job_id, reason)
        feed.put_back([task for task in tasks if task.order.job_id not in refused])
        feed.give_up(refused)

    def _refusal(self, captioner: Captioner, order: Order) -> str | None:
        """Why a model cannot do an order: tried on one blank picture."""
        shape = captioner.preprocessing
        self._standing.pulse.busy()
        try:
            captioner.caption(
                np.zeros((1, shape.height, shape.width, 3), np.uint8), [order.prompt], order.kind.decoding, [0]
            )
        except ValueError as error:
            return str(error)
        finally:
            self._standing.pulse.idle()
        return None

    def _count(self, pictures: int) -> None:
        now = time.monotonic()
        self._recent.append((now, pictures))
        while now - self._recent[0][0] > RATE_SECONDS:
            self._recent.popleft()
        since = now - self._recent[0][0]
        if since > 1:
            self._standing.show(rate=sum(n for _, n in list(self._recent)[1:]) / since)


def _key(task: Task) -> tuple[int, bytes]:
    """Recipe and content: what a caption belongs to."""
    assert task.picture is not None
    return task.order.recipe_id, task.picture.sha256


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
