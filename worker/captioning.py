"""The captioning loop: batch after batch from the feed through the model into the ledger, until nothing is due."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from blipq.models import attempts, lease, results
from blipq.models.database import LedgerError
from blipq.models.results import Captioned, Content, Failed
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.claims import Claims
from blipq.worker.engine.errors import harms_device, is_out_of_memory
from blipq.worker.engine.picture import Limits
from blipq.worker.engine.pool import DecodePool, NoDecoder
from blipq.worker.feed import Batch, Feed
from blipq.worker.model_cache import ModelCache
from blipq.worker.quality import flag
from blipq.worker.reasons import CannotBegin, NeedsFreshProcess, reason
from blipq.worker.runner import Fault, HopelessJob, Runner
from blipq.worker.standing import Standing
from blipq.worker.storage import Storage
from blipq.worker.task import Settled, Task
from blipq.worker.writer import Writer

if TYPE_CHECKING:
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
        self._runner = Runner(standing, self._models)
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
                self._run(feed, claims)
            except LedgerError as error:
                preempted = False
                _log.error("halted: %s", error)
            except (CannotBegin, NeedsFreshProcess):
                claims.leave()  # no picture's fault
                raise
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

    def _run(self, feed: Feed, claims: Claims) -> None:
        try:
            while not self._standing.stopping.is_set():
                batch = feed.next_batch()
                if batch is None:
                    return
                began = time.monotonic()
                settled = [*batch.settled, *self._caption(feed, batch)]
                gone = self._writer.put(settled, time.monotonic() - began)
                feed.after_store(gone, self._writer.units())
                self._prove(claims, settled)
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
        outcomes = self._run_model(feed, first, later)
        if outcomes is None:
            return settled
        precision = self._models.get(first[0].order.kind).precision
        made = {_key(task): _outcome(task, outcome, precision) for task, outcome in zip(first, outcomes, strict=True)}
        # With the caption, not a mere note that there is one: the other's unit may be lost before it is written.
        settled += [(task.order, replace(made[_key(task)], work=task.work)) for task in (*first, *later)]
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

    def _run_model(self, feed: Feed, tasks: Sequence[Task], later: Sequence[Task]) -> Sequence[Caption | Fault] | None:
        """Captions and faults of the tasks; None where they come again (memory ran out) or their job fails."""
        try:
            return self._run_or_inquire(feed, tasks, later)
        except HopelessJob as hopeless:
            said = f"the model fails on every picture: {hopeless}"
            self._fail(feed, {hopeless.job_id: f"{said}: mend it, then `blipq retry {hopeless.job_id}`"})
            feed.put_back([task for task in (*tasks, *later) if task.order.job_id != hopeless.job_id])
        except LedgerError:
            raise
        except BaseException as error:
            if is_out_of_memory(error):
                self._step_back(tasks, error)
                feed.put_back([*tasks, *later])
            elif harms_device(error) and self._is_last_attempt(tasks, later):
                # This process has to end; only now can it be told over what.
                self._writer.put([(tasks[0].order, _outcome(tasks[0], Fault(_alone(error)), ""))], 0)
                self._writer.flush()
                raise NeedsFreshProcess(reason(error)) from error
            else:
                raise
        return None

    def _is_last_attempt(self, tasks: Sequence[Task], later: Sequence[Task]) -> bool:
        """Whether a picture is alone in its batch, and has cost so many processes that another is not worth it."""
        return len(tasks) == 1 and not later and tasks[0].work.lease.crashes >= self._settings.attempts

    def _run_or_inquire(
        self, feed: Feed, tasks: Sequence[Task], later: Sequence[Task]
    ) -> Sequence[Caption | Fault] | None:
        """As `_run_model`. Raises HopelessJob, and what no other try in this process can mend."""
        self._models.get(tasks[0].order.kind)  # loaded anew, where it had to make room: that is no picture's fault
        try:
            return self._runner.run(tasks)
        except BaseException as error:
            if is_out_of_memory(error) or harms_device(error):
                raise
            if isinstance(error, ValueError) and self._refuse(feed, [*tasks, *later]):
                return None
            return self._runner.find(tasks, error)

    def _step_back(self, tasks: Sequence[Task], error: BaseException) -> None:
        """Memory ran out: a smaller batch, or for a single picture the other models' room, or some patience."""
        kind = tasks[0].order.kind
        if len(tasks) > 1:
            self._sizes.halve(tasks[0].order, len(tasks))
        elif not self._models.unload_others(kind):
            self._standing.show(note=f"no memory for a single picture: {error}")
            _log.warning("no memory for a single picture: waiting %g s", MEMORY_AGAIN_SECONDS)
            self._standing.stopping.wait(MEMORY_AGAIN_SECONDS)
            self._standing.show(note=None)

    def _refuse(self, feed: Feed, tasks: Sequence[Task]) -> bool:
        """Fail the jobs of a batch that ask what the model cannot do, such as a prompt longer than its text.

        False where there is none such; else the pictures of others, which only rode along, come again.
        """
        jobs = {task.order.job_id: task for task in tasks}
        errors = {job_id: self._runner.why_refused(task) for job_id, task in jobs.items()}
        refused = {job_id: str(error) for job_id, error in errors.items() if error is not None}
        if not refused:
            return False
        self._fail(feed, refused)
        feed.put_back([task for task in tasks if task.order.job_id not in refused])
        return True

    def _fail(self, feed: Feed, reasons: Mapping[int, str]) -> None:
        with self._ledger.write() as connection:
            for job_id, said in reasons.items():
                lease.fail_job(connection, job_id, said)
        feed.give_up(reasons)

    def _prove(self, claims: Claims, settled: Sequence[Settled]) -> None:
        """Something came of jobs at which attempts failed before."""
        if not claims.doubted:
            return
        proven = claims.doubted & {order.job_id for order, one in settled if isinstance(one, Captioned)}
        if proven:
            with self._ledger.write() as connection:
                for job_id in sorted(proven):
                    attempts.proven(connection, job_id)
            claims.doubted -= proven

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


def _outcome(task: Task, caption: Caption | Fault, precision: str) -> Captioned | Failed:
    if isinstance(caption, Fault):
        return Failed(task.work, "crash", caption.reason)
    looks = flag(caption.text, task.order.prompt, caption.score, cut=caption.cut)
    return Captioned(task.work, _content(task), caption.text, caption.score, looks, precision)


def _alone(error: BaseException) -> str:
    return f"the model's process died over this picture alone: {reason(error)}"


def _content(task: Task) -> Content:
    assert task.picture is not None
    return Content(task.picture.sha256, task.picture.width, task.picture.height, task.picture.format)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
