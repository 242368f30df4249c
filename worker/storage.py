"""Telling a picture that is gone from a disk that is gone, for which no 300,000 failures must be written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

from blipq.models.results import Failed
from blipq.worker.engine.picture import BadImage
from blipq.worker.task import Settled, Task

IN_A_ROW = 20  # unreadable files of one job without a readable one between them
WAIT_SECONDS = 15.0  # until a waiting job looks again
KINDS = ("missing", "io")


class Storage:
    """Holds unreadable files back until it is clear whether they are gone or their disk is."""

    def __init__(self) -> None:
        self._doubtful: dict[int, list[tuple[Task, BadImage]]] = defaultdict(list)

    def add(self, task: Task, answer: BadImage) -> bool:
        """Take in an unreadable file. True where its job's disk must be gone: nothing of it may count as failed."""
        doubtful = self._doubtful[task.order.job_id]
        doubtful.append((task, answer))
        return len(doubtful) >= IN_A_ROW or not any(Path(source).exists() for source in task.order.sources or ("/",))

    def release(self, job_id: int) -> list[Settled]:
        """The disk is there after all: what was held back are failures."""
        return [
            (task.order, Failed(task.work, answer.kind, answer.message))
            for task, answer in self._doubtful.pop(job_id, ())
        ]

    def release_all(self) -> list[Settled]:
        """Nothing more will come that could tell: what is held back are failures."""
        return [settled for job_id in list(self._doubtful) for settled in self.release(job_id)]

    def drop(self, unit_ids: Collection[int]) -> None:
        """Forget the pictures of units that are no longer ours."""
        for job_id, doubtful in list(self._doubtful.items()):
            self._doubtful[job_id] = [pair for pair in doubtful if pair[0].work.lease.unit_id not in unit_ids]

    def tasks(self) -> Iterator[Task]:
        """The pictures that are held back."""
        for doubtful in self._doubtful.values():
            yield from (task for task, _ in doubtful)
