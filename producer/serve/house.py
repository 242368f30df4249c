"""What every request needs, made once: settings, ledger, the waiting room, thumbnails, and the thread that writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from blipq.models import gallery, starts, upload
from blipq.models.database import Ledger, LedgerError
from blipq.models.starts import Trouble
from blipq.producer import daemon
from blipq.producer.enqueue import Request, resolve
from blipq.producer.serve.access import Access
from blipq.producer.serve.answers import Answers
from blipq.producer.serve.metrics import Requests
from blipq.producer.serve.thumbnails import Thumbnails
from blipq.settings import Settings

TIDY_SECONDS = 1.0
ABANDONED_SECONDS = 30.0
DAEMON_SECONDS = 2.0
TROUBLE_SECONDS = 1.0
MODEL_SECONDS = 10.0  # that a model's name is taken to mean the same weights
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class House:
    """Shared by all requests of a process; used from the event loop."""

    settings: Settings
    ledger: Ledger
    access: Access
    requests: Requests
    answers: Answers
    thumbnails: Thumbnails
    # One thread writes: two of this process would only wait for each other's lock, SQLite's by sleeping.
    writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "blipq-write"))
    answered: list[int] = field(default_factory=list)  # jobs of pictures whose callers have their caption
    _recipes: dict[tuple[object, ...], tuple[float, str, int | None]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _models: tuple[float, list[str]] | None = None
    _troubles: tuple[float, list[Trouble]] = (-TROUBLE_SECONDS, [])

    async def write(self, act: Callable[[Connection], T]) -> T:
        """Run a writing transaction, as `Ledger.transact` does. Raises LedgerError and what `act` raises."""
        return await asyncio.get_running_loop().run_in_executor(self.writer, self.ledger.transact, act)

    async def read(self, act: Callable[[Connection], T]) -> T:
        """Run a reading transaction. Raises LedgerError and what `act` raises."""

        def run() -> T:
            with self.ledger.read() as connection:
                return act(connection)

        return await run_in_threadpool(run)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on that nobody waits for; its error is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("%s: %s", type(error).__name__, error)

    async def recipe(self, request: Request) -> tuple[str, int | None]:
        """A model's lasting name and the recipe's id. Raises UnknownModel, BadRecipe, LedgerError."""
        key = (request.model, *sorted(request.recipe.items()))
        known = self._recipes.get(key)
        if known is not None and time.monotonic() - known[0] < MODEL_SECONDS:
            return known[1], known[2]

        def look() -> tuple[str, int | None]:
            found, recipe_id = resolve(self.ledger, self.settings, request)
            return found.pinned, recipe_id

        pinned, recipe_id = await asyncio.get_running_loop().run_in_executor(self.writer, look)
        if len(self._recipes) > 1000:
            self._recipes.clear()
        self._recipes[key] = (time.monotonic(), pinned, recipe_id)
        return pinned, recipe_id

    async def trouble(self, queue: str) -> Trouble | None:
        """Why the workers of a queue cannot begin; looked at once a second, however many callers wait."""
        if time.monotonic() - self._troubles[0] > TROUBLE_SECONDS:
            self._troubles = (time.monotonic(), self._troubles[1])
            self._troubles = (time.monotonic(), await self.read(starts.troubles))
        return next((found for found in self._troubles[1] if found.queue == queue), None)

    async def models(self) -> list[str]:
        """Models that callers may name besides the default: those that captioned something, and promoted names."""
        if self._models is None or time.monotonic() - self._models[0] > MODEL_SECONDS:
            self._models = (time.monotonic(), await self.read(gallery.named_models))
        return self._models[1]

    async def tidy(self) -> None:
        """Until cancelled: forget pictures that were answered, and those that nobody waits for any more."""
        looked_at = 0.0
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            done, self.answered = self.answered[:500], self.answered[500:]
            try:
                if time.monotonic() - looked_at > ABANDONED_SECONDS:
                    looked_at = time.monotonic()
                    done += [job_id for job_id in await self.read(upload.abandoned) if job_id not in done]
                if done:
                    await self.write(lambda connection, ids=tuple(done): upload.forget(connection, ids))  # type: ignore[misc]
            except LedgerError as error:
                _log.error("%s", error)
                self.answered += done

    async def keep_daemon(self) -> None:
        """Until cancelled, where the broker is ours: keep the local daemon running."""
        while True:
            try:
                await run_in_threadpool(daemon.start, self.settings, idle=self.settings.idle)
            except Exception as error:  # no memory or no process to be had just now
                _log.error("the local daemon cannot be started: %s", error)
            await asyncio.sleep(DAEMON_SECONDS)

    async def close(self) -> None:
        """Forget what was answered, and end threads and processes."""
        if self.answered:
            with suppress(LedgerError):
                await self.write(lambda connection: upload.forget(connection, self.answered))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.answers.close()
        await self.thumbnails.close()
        self.writer.shutdown()
        self.ledger.close()


@asynccontextmanager
async def open_house(settings: Settings, ledger: Ledger, access: Access, requests: Requests) -> AsyncIterator[House]:
    """A house with its tasks running; everything is ended afterwards."""
    house = House(settings, ledger, access, requests, Answers(ledger), Thumbnails(ledger, settings))
    tasks = [asyncio.create_task(house.tidy())]
    if settings.embedded:
        tasks.append(asyncio.create_task(house.keep_daemon()))
    try:
        yield house
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await house.close()


def of(request: HTTPConnection) -> House:
    """The house of a request."""
    house: House = request.app.state.house
    return house
