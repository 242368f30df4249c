"""Waiting for pictures: one thread looks which of all awaited jobs are over, however many callers wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from sqlalchemy import select

from blipq.models import upload
from blipq.models.control import ENDED
from blipq.models.database import Ledger, LedgerError
from blipq.models.schema import job
from blipq.models.upload import Answer, Received

LOOK_SECONDS = 0.005  # one read for all of them, 0.2 ms
SQLITE_SECONDS = 0.002  # there a look is 10 µs, and only a commit makes it a read
AWAY_SECONDS = 0.25  # between looks at a database that does not answer


class Answers:
    """Futures of pictures, by their jobs' primary keys. `wait` is for the event loop that made this."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[int, asyncio.Future[Answer]] = {}
        self._received: dict[int, Received] = {}
        self._some = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._look, name="blipq-answers", daemon=True)
        self._thread.start()

    async def wait(self, received: Received) -> Answer:
        """What came of a picture, once its job is over."""
        job_id = received.job_id
        future = self._awaited[job_id] = self._loop.create_future()
        self._received[job_id] = received
        self._some.set()
        try:
            answer: Answer = await future
            return answer
        finally:
            del self._awaited[job_id], self._received[job_id]

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._some.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._closed:
            self._some.wait()
            self._some.clear()
            try:
                with self._ledger.watched() as changed:
                    self._follow(changed)
            except LedgerError:
                time.sleep(AWAY_SECONDS)
                self._some.set()

    def _follow(self, changed: Callable[[], bool]) -> None:
        """Look until nobody waits."""
        pause = LOOK_SECONDS if self._ledger.sqlite_path is None else SQLITE_SECONDS
        asked: set[int] = set()
        while (waiting := dict(self._received)) and not self._closed:
            if changed() or not asked.issuperset(waiting):  # in this order: what is committed in between is read twice
                asked = set(waiting)
                answers = self._read(waiting)
                if answers:
                    self._loop.call_soon_threadsafe(self._tell, answers)
            time.sleep(pause)

    def _read(self, waiting: dict[int, Received]) -> dict[int, Answer]:
        with self._ledger.read() as connection:
            query = select(job.c.id).where(job.c.id.in_(list(waiting)), job.c.state.in_(ENDED))
            return {n: upload.read_answer(connection, waiting[n]) for n in connection.scalars(query).all()}

    def _tell(self, answers: dict[int, Answer]) -> None:
        for job_id, answer in answers.items():
            future = self._awaited.get(job_id)
            if future is not None and not future.done():
                future.set_result(answer)
