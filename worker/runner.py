"""Running the model over a batch, and finding the pictures of a batch that it fails on: they alone fail."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from blipq.worker.engine.errors import harms_device, is_out_of_memory
from blipq.worker.model_cache import ModelCache
from blipq.worker.reasons import reason
from blipq.worker.standing import Standing
from blipq.worker.task import Task

if TYPE_CHECKING:
    from blipq.worker.engine.decoding import Caption

IN_A_ROW = 4  # pictures of a job that failed each alone, after which a blank one tells whether any can be captioned
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """Why the model fails on a picture that is alone in its batch."""

    reason: str


class HopelessJob(Exception):
    """The model fails on every picture of a job, a blank one too; the message is the reason."""

    def __init__(self, job_id: int, reason: str) -> None:
        super().__init__(reason)
        self.job_id = job_id


class Runner:
    """The model at work. Used by the model's thread alone."""

    def __init__(self, standing: Standing, models: ModelCache) -> None:
        self._standing = standing
        self._models = models
        self._attempts = standing.settings.attempts
        self._in_a_row: Counter[int] = Counter()  # faults by job, since something came of it

    def run(self, tasks: Sequence[Task]) -> Sequence[Caption]:
        """Captions of some tasks of one kind; raises what the model raises, and TypeError for what are no captions."""
        captioner = self._models.get(tasks[0].order.kind)
        pixels = np.stack([task.picture.pixels for task in tasks if task.picture is not None])
        prompts, seeds = [task.order.prompt for task in tasks], [_seed(task) for task in tasks]
        self._standing.pulse.busy({task.work.lease.unit_id for task in tasks})
        try:
            captions = captioner.caption(pixels, prompts, tasks[0].order.kind.decoding, seeds)
        except BaseException as error:
            if not harms_device(error):  # else this process ends, and what was on the model is blamed
                self._standing.pulse.idle()
            raise
        self._standing.pulse.idle()
        if len(captions) != len(tasks) or not all(isinstance(getattr(one, "text", None), str) for one in captions):
            raise TypeError(f"the captioner answered {len(tasks)} pictures with {captions!r:.100}")
        return captions

    def find(self, tasks: Sequence[Task], error: BaseException) -> list[Caption | Fault]:
        """Captions and faults of a batch that raised an error: tried again in halves, and each picture alone.

        Raises HopelessJob, and what the model raises where memory ran out or the device took harm.
        """
        _log.warning("the model failed on a batch of %d: each half is tried", len(tasks), exc_info=error)
        return self._halve(tasks, error, 1)

    def why_refused(self, task: Task) -> ValueError | None:
        """What a model says of an order that it cannot do as it was asked: tried on a blank picture."""
        error = self._on_blank(task)
        return error if isinstance(error, ValueError) else None

    def _halve(self, tasks: Sequence[Task], error: BaseException, tried: int) -> list[Caption | Fault]:
        if len(tasks) > 1:
            middle = len(tasks) // 2
            return [*self._try(tasks[:middle], 0), *self._try(tasks[middle:], 0)]
        return self._try(tasks, tried) if tried < self._attempts else [self._fault(tasks[0], error)]

    def _try(self, tasks: Sequence[Task], tried: int) -> list[Caption | Fault]:
        try:
            captions = self.run(tasks)
        except BaseException as error:
            if is_out_of_memory(error) or harms_device(error):
                raise
            return self._halve(tasks, error, tried + 1)
        for task in tasks:
            self._in_a_row.pop(task.order.job_id, None)
        return list(captions)

    def _fault(self, task: Task, error: BaseException) -> Fault:
        job_id = task.order.job_id
        self._in_a_row[job_id] += 1
        if self._in_a_row[job_id] % IN_A_ROW == 0:
            on_blank = self._on_blank(task)
            if on_blank is not None:
                raise HopelessJob(job_id, reason(on_blank))
        return Fault(f"the model fails on this picture alone: {reason(error)}")

    def _on_blank(self, task: Task) -> BaseException | None:
        """What the model raises on a black picture in a task's place."""
        assert task.picture is not None
        black = replace(task.picture, pixels=np.zeros_like(task.picture.pixels))
        try:
            self.run([replace(task, picture=black)])
        except BaseException as error:
            if is_out_of_memory(error) or harms_device(error):
                raise
            return error
        return None


def _seed(task: Task) -> int:
    """A picture's own seed: what is sampled for it depends on the recipe and its content, never on its batch."""
    assert task.picture is not None
    mixed = hashlib.sha256(task.order.seed.to_bytes(8, "big", signed=True) + task.picture.sha256).digest()
    return int.from_bytes(mixed[:8], "big") >> 1
