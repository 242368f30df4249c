"""Telling a picture that is gone from a disk that is gone, for which no 300,000 failures must be written."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from blipq.models.results import Failed
from blipq.worker.engine.picture import BadImage
from blipq.worker.task import Settled, Task

IN_A_ROW = 20  # unreadable files of one job without a readable one between them
WAIT_SECONDS = 15.0  # until a waiting job looks again
PATIENCE_SECONDS = 600.0  # for which files may be missing below a folder that is there, before that is believed
LOOK_SECONDS = 5.0  # for which a disk may leave unanswered whether a folder is there
KINDS = ("missing", "io")


class Storage:
    """Holds unreadable files back until it is clear whether they are gone or their disk is. One a worker."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._patience = patience
        self._doubtful: dict[int, list[tuple[Task, BadImage]]] = defaultdict(list)
        self._since: dict[int, float] = {}  # when a job was first put off, with nothing read since

    def add(self, task: Task, answer: BadImage) -> bool:
        """Take in an unreadable file. True where its job's disk must be gone: nothing of it may count as failed."""
        job_id = task.order.job_id
        doubtful = self._doubtful[job_id]
        doubtful.append((task, answer))
        if len(doubtful) < IN_A_ROW and _any_there(task):
            return False
        since = self._since.setdefault(job_id, time.monotonic())
        only_missing = all(one.kind == "missing" for _, one in doubtful)
        patient = time.monotonic() - since > self._patience
        # A disk may be mounted anywhere below what was enqueued: files that are gone with their folder are not seen.
        return not (only_missing and patient and _any_there(task) and _answered(_folders(doubtful), all))

    def release(self, task: Task) -> list[Settled]:
        """A picture could be read: what was held back of its job are failures, unless its disk went meanwhile."""
        job_id = task.order.job_id
        if self._doubtful.get(job_id) and not _any_there(task):
            return []
        self._since.pop(job_id, None)
        return self._failed(job_id)

    def release_all(self) -> list[Settled]:
        """Nothing more will come that could tell: what is held back are failures."""
        return [settled for job_id in list(self._doubtful) for settled in self._failed(job_id)]

    def clear(self) -> None:
        """Forget what is held back, as its units are given back; since when jobs wait is remembered."""
        self._doubtful.clear()

    def drop(self, unit_ids: Collection[int]) -> None:
        """Forget the pictures of units that are no longer ours."""
        for job_id, doubtful in list(self._doubtful.items()):
            self._doubtful[job_id] = [pair for pair in doubtful if pair[0].work.lease.unit_id not in unit_ids]

    def tasks(self) -> Iterator[Task]:
        """The pictures that are held back."""
        for doubtful in self._doubtful.values():
            yield from (task for task, _ in doubtful)

    def _failed(self, job_id: int) -> list[Settled]:
        held_back = self._doubtful.pop(job_id, ())
        return [(task.order, Failed(task.work, answer.kind, answer.message)) for task, answer in held_back]


def _any_there(task: Task) -> bool:
    """Whether one of the places that were enqueued is there: a folder with anything in it, or a file's folder."""
    path = task.work.raw or os.fsencode(task.work.path)
    roots = [Path(s).parent if os.fsencode(s) == path else Path(s) for s in task.order.sources] or [Path("/")]
    return _answered(roots)


def _folders(doubtful: Sequence[tuple[Task, BadImage]]) -> list[Path]:
    """The folders in which files are missing."""
    paths = (task.work.raw or os.fsencode(task.work.path) for task, _ in doubtful)
    return [Path(os.fsdecode(folder)) for folder in sorted({path.rpartition(b"/")[0] for path in paths})]


def _answered(roots: Sequence[Path], which: Callable[[Iterable[bool]], bool] = any) -> bool:
    """Look from a thread that is left behind where the disk does not answer: a dead network disk blocks for ever."""
    found = threading.Event()

    def look() -> None:
        if which(_holds_anything(root) for root in roots):
            found.set()

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(LOOK_SECONDS)
    return found.is_set()


def _holds_anything(folder: Path) -> bool:
    """An unmounted disk leaves an empty folder behind, or none."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except NotADirectoryError:
        return True
    except OSError:
        return False
