"""Waiting for pictures: one thread looks every 10 ms which of all awaited jobs are over, however many callers wait."""

from __future__ import annotations

import asyncio
import threading
import time

from sqlalchemy import select

from blipq.models.control import ENDED
from blipq.models.database import Ledger, LedgerError
from blipq.models.schema import job

LOOK_SECONDS = 0.01
AWAY_SECONDS = 0.25  # between looks at a database that does not answer


class Answers:
    """Futures of jobs, by their primary keys. `wait` is for the event loop that made this."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[int, asyncio.Future[None]] = {}
        self._some = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._look, name="blipq-answers", daemon=True)
        self._thread.start()

    async def wait(self, job_id: int) -> None:
        """Return when a job is over."""
        future = self._awaited[job_id] = self._loop.create_future()
        self._some.set()
        try:
            await future
        finally:
            self._awaited.pop(job_id, None)

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._some.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._closed:
            self._some.wait()
            self._some.clear()
            while (ids := list(self._awaited)) and not self._closed:
                try:
                    with self._ledger.read() as connection:
                        over = connection.scalars(select(job.c.id).where(job.c.id.in_(ids), job.c.state.in_(ENDED)))
                        ended = list(over)
                except LedgerError:
                    time.sleep(AWAY_SECONDS)
                    continue
                if ended:
                    self._loop.call_soon_threadsafe(self._tell, ended)
                time.sleep(LOOK_SECONDS)

    def _tell(self, ended: list[int]) -> None:
        for job_id in ended:
            future = self._awaited.get(job_id)
            if future is not None and not future.done():
                future.set_result(None)
