"""The feed of the model: has claimed pictures decoded ahead, and hands over batches, the most urgent first."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from blipq.models import results
from blipq.models.database import Ledger
from blipq.models.lease import MOST_LAPSES, Lease
from blipq.models.results import Captioned, Content, Failed
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.claims import Claims
from blipq.worker.engine.picture import BadImage, Identity, Picture, Shape
from blipq.worker.engine.pool import DecodePool, Request
from blipq.worker.model_cache import ModelCache
from blipq.worker.orders import Kind
from blipq.worker.storage import KINDS, WAIT_SECONDS, Storage
from blipq.worker.task import Settled, Task

OVERTAKING_SECONDS = 0.2  # that the model waits for a more urgent picture which is being decoded
LOOK_SECONDS = 0.05  # between two looks into the ledger, 1 to 2 ms each, while pictures are being decoded
SETTLED_MOST = 256  # outcomes that needed no model, after which they are stored without waiting for a batch
GATHER_SECONDS = 0.01  # for which decoded pictures are gathered before it is asked whether they make a batch
Answer = Picture | Identity | BadImage


@dataclass(frozen=True)
class Batch:
    """What the model does next (one kind of task, or none), and what was settled without it."""

    tasks: tuple[Task, ...]
    settled: tuple[Settled, ...]


class Feed:
    """Every picture between its claim and the model. Used by the model's thread alone."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        claims: Claims,
        models: ModelCache,
        sizes: BatchSizes,
        pool: DecodePool,
        storage: Storage,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._claims = claims
        self._models = models
        self._sizes = sizes
        self._pool = pool
        self._decoding: dict[Future[Answer], Task] = {}
        self._decoded: SimpleQueue[Future[Answer]] = SimpleQueue()
        self._lacking = 1  # pictures to a full batch
        self._ready: dict[Kind, list[Task]] = defaultdict(list)
        self._settled: list[Settled] = []
        self._storage = storage
        self._overtaken_at: float | None = None

    def next_batch(self) -> Batch | None:
        """Claim, decode, and cut the next batch; None when nothing is due, the queue is paused or the worker stops."""
        began, waited, looked = time.monotonic(), False, 0.0
        while True:
            if time.monotonic() - looked > LOOK_SECONDS:
                claimed = self._claims.more(self._in_hand(), self._most_urgent())
                if claimed is None:
                    return None
                self._begin(claimed)
                self.drop(self._claims.unwanted())
                looked = time.monotonic()
            self._collect(0)
            batch = self._cut(short=waited)
            if batch is not None:
                return batch
            if len(self._settled) >= SETTLED_MOST:
                return Batch((), self._take_settled())
            if self._decoding:
                self._collect(0.05)
            elif any(self._ready.values()):
                # Others may want to ride along: those who came while the first was decoded, or within the window.
                time.sleep(max(0.0, began + self._settings.batch_window - time.monotonic()))
                waited, looked = True, 0.0
            else:
                self._settled += self._storage.release_all()
                return Batch((), self._take_settled()) if self._settled else None

    def put_back(self, tasks: Sequence[Task]) -> None:
        """Decoded pictures that the model could not take this time: they come first again."""
        if tasks:
            self._ready[tasks[0].order.kind][:0] = tasks

    def give_up(self, job_ids: Collection[int]) -> None:
        """Forget the pictures of jobs that failed, and give their units back to nobody."""
        for job_id in job_ids:
            self.drop(self._claims.hand_back_job(job_id))

    def after_store(self, gone: Collection[int], unwritten: Collection[int]) -> None:
        """Drop the units that were lost, and forget those of which all is stored."""
        self.drop(gone)
        busy = {task.work.lease.unit_id for task in self._tasks()} | self._settled_units()
        self._claims.forget_ended(busy.union(unwritten))

    def drop(self, unit_ids: Collection[int]) -> None:
        """Forget every picture of some units: they are no longer ours."""
        if not unit_ids:
            return
        for future, task in list(self._decoding.items()):
            if task.work.lease.unit_id in unit_ids:
                future.cancel()
                del self._decoding[future]
        for kind, tasks in self._ready.items():
            self._ready[kind] = [task for task in tasks if task.work.lease.unit_id not in unit_ids]
        self._settled = [one for one in self._settled if one[1].work.lease.unit_id not in unit_ids]
        self._storage.drop(unit_ids)
        self._claims.forget(unit_ids)

    # Decoding

    def _begin(self, claimed: Sequence[Task]) -> None:
        per_unit: dict[int, int] = defaultdict(int)
        for task in claimed:
            per_unit[task.work.lease.unit_id] += 1
        for task in claimed:
            work = task.work
            if work.captioned:
                self._settled.append((task.order, Captioned(work, None, None)))
            elif per_unit[work.lease.unit_id] == 1 and (reason := _given_up(work.lease, self._settings.attempts)):
                self._settled.append((task.order, Failed(work, "crash", reason)))
            else:
                self._decode(task, identify=work.twin)

    def _decode(self, task: Task, *, identify: bool) -> None:
        wants = self._models.get(task.order.kind).preprocessing
        shape = None if identify else Shape(wants.height, wants.width, wants.resample)
        path = None if task.data is not None else task.work.raw or os.fsencode(task.work.path)
        future = self._pool.submit(Request(path, task.data, shape))
        self._decoding[future] = task
        future.add_done_callback(self._decoded.put)

    def _collect(self, seconds: float) -> None:
        """Take in what the decoders finished, waiting some seconds for the first."""
        finished = self._gather(seconds)
        identified = []
        for future in sorted(finished, key=lambda done: self._decoding[done].work.item_id):
            task = self._decoding.pop(future, None)
            if task is None:  # a job whose disk is gone took its other pictures along
                continue
            answer = future.result()
            if isinstance(answer, BadImage):
                self._reject(task, answer)
                continue
            self._settled += self._storage.release(task)
            if isinstance(answer, Picture):
                self._ready[task.order.kind].append(replace(task, data=None, picture=answer))
            else:
                identified.append((task, answer))
        self._spare(identified)

    def _gather(self, seconds: float) -> list[Future[Answer]]:
        """What was decoded by now; with `seconds` to wait, the first of it and what follows closely, up to a batch."""
        finished: list[Future[Answer]] = []
        end = time.monotonic() + seconds
        while self._decoding and len(finished) < len(self._decoding):
            try:
                left = end - time.monotonic()
                future = self._decoded.get(timeout=left) if left > 0 else self._decoded.get_nowait()
            except Empty:
                break
            if future in self._decoding:  # not dropped meanwhile
                finished.append(future)
                if len(finished) == 1:
                    end = min(end, time.monotonic() + GATHER_SECONDS)
                if len(finished) == self._lacking:
                    end = 0.0
        return finished

    def _reject(self, task: Task, answer: BadImage) -> None:
        if answer.kind not in KINDS:
            self._settled += self._storage.release(task)
            self._settled.append((task.order, Failed(task.work, answer.kind, answer.message)))
        elif self._storage.add(task, answer):
            note = f"storage unreachable: {answer.message}"
            self.drop(self._claims.postpone(task.order.job_id, WAIT_SECONDS, note))

    def _spare(self, identified: Sequence[tuple[Task, Identity]]) -> None:
        """Settle what turns out to have its caption already, and decode the rest."""
        by_recipe: dict[int, list[tuple[Task, Identity]]] = defaultdict(list)
        for task, found in identified:
            by_recipe[task.order.recipe_id].append((task, found))
        for recipe_id, pairs in by_recipe.items():
            with self._ledger.glance() as connection:
                known = results.captioned_contents(connection, recipe_id, {found.sha256 for _, found in pairs})
            for task, found in pairs:
                if found.sha256 in known:
                    content = Content(found.sha256, found.width, found.height, found.format)
                    self._settled.append((task.order, Captioned(task.work, content, None)))
                else:
                    self._decode(task, identify=False)

    # Batches

    def _cut(self, *, short: bool) -> Batch | None:
        """A batch of the most urgent kind: a full one, or what there is when no more of it is being decoded."""
        kinds = [kind for kind, tasks in self._ready.items() if tasks]
        if not kinds:
            return None
        kind = max(kinds, key=lambda one: max(self._urgency(task) for task in self._ready[one]))
        tasks = sorted(self._ready[kind], key=self._urgency, reverse=True)
        if self._overtaken(tasks[0]):
            return None
        size = self._sizes.of(tasks[0].order)
        coming = any(task.order.kind == kind for task in self._decoding.values())
        self._lacking = size - len(tasks)
        if self._lacking > 0 and (coming or not short):
            return None
        self._ready[kind] = tasks[size:]
        return Batch(tuple(tasks[:size]), self._take_settled())

    def _overtaken(self, first: Task) -> bool:
        """Whether something more urgent is just being decoded: worth a moment's wait, and no more."""
        urgent = any(task.order.priority > first.order.priority for task in self._decoding.values())
        if not urgent:
            self._overtaken_at = None
            return False
        self._overtaken_at = self._overtaken_at or time.monotonic()
        return time.monotonic() - self._overtaken_at < OVERTAKING_SECONDS

    @staticmethod
    def _urgency(task: Task) -> tuple[int, int]:
        return task.order.priority, -task.work.item_id

    def _most_urgent(self) -> int | None:
        return max((task.order.priority for task in self._tasks()), default=None)

    def _in_hand(self) -> int:
        return len(self._decoding) + sum(map(len, self._ready.values()))

    def _take_settled(self) -> tuple[Settled, ...]:
        taken, self._settled = tuple(self._settled), []
        return taken

    def _settled_units(self) -> set[int]:
        return {outcome.work.lease.unit_id for _, outcome in self._settled}

    def _tasks(self) -> Iterator[Task]:
        yield from self._decoding.values()
        for tasks in self._ready.values():
            yield from tasks
        yield from self._storage.tasks()


def _given_up(lease: Lease, attempts: int) -> str | None:
    """Why the only picture of a unit is not tried again; None where it is.

    The first crash makes it a suspect, and others may have been beside it; those after that were of this picture alone.
    """
    if lease.crashes > attempts:
        return f"the model's process died {attempts} times on this picture alone, and once before"
    if lease.lapses >= MOST_LAPSES:
        return (
            f"{lease.lapses} workers that had this picture vanished, at last with it alone, and nobody saw why: their "
            "hosts went down, or ran out of memory as a whole"
        )
    return None
