"""Enqueueing: pictures that were found become a job, chunk by chunk, and the daemon or the workers hear of it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from blipq.models import intake, recipes, weights
from blipq.models.database import Ledger
from blipq.models.intake import CHUNK, Found
from blipq.models.recipes import BadRecipe, Recipe
from blipq.models.schema import PRIORITIES
from blipq.models.selection import Selection, photos
from blipq.models.weights import HubUnreachable, Weights
from blipq.producer import daemon
from blipq.producer.errors import UserError
from blipq.producer.scan import Refused, absolute, look, scan
from blipq.settings import Settings

LISTED = 20  # refused paths that are named; the others are counted


class NothingFound(UserError):
    """There is no picture where a person looked for some."""


@dataclass(frozen=True)
class Request:
    """What a person asked for: pictures under paths, and those known ones for which `where` holds (see Selection)."""

    paths: tuple[str, ...]
    model: str
    recipe: dict[str, Any] = field(default_factory=dict)  # fields of Recipe, without the weights
    mode: str = "fill"
    precision: str = "auto"
    batch_size: int | None = None
    priority: str = "normal"
    where: str | None = None
    watched: tuple[str, ...] = ()  # the folders in which a watcher saw the paths

    @property
    def source(self) -> str:
        """What was enqueued, as the list of jobs shows it."""
        if self.watched:
            return f"watch {shlex.join(self.watched)}"
        where = () if self.where is None else ("--where", self.where)
        return shlex.join((*self.paths, *where))


@dataclass
class Enqueued:
    """What came of it. `job` is None after a dry run."""

    job: int | None
    model: str
    found: int = 0
    queued: int = 0
    refused: int = 0
    reasons: list[Refused] = field(default_factory=list)
    units: list[int] = field(default_factory=list)

    @property
    def known(self) -> int:
        """Pictures that have their caption already."""
        return self.found - self.queued


def enqueue(ledger: Ledger, settings: Settings, request: Request, progress: Callable[[Enqueued], None]) -> Enqueued:
    """Make a job of the pictures under some paths. Each chunk is one transaction, so a crash costs one chunk.

    Raises NothingFound where there is no picture, UnknownModel, BadRecipe, LedgerError.
    """
    found, recipe_id = resolve(ledger, settings, request)
    pictures = _Pictures(_looked_up(ledger, request))
    chunks = _chunks(pictures)
    first = next(chunks, [])
    answer = Enqueued(None, found.pinned, reasons=pictures.refused)
    if not first:
        raise NothingFound(_nothing(request, pictures))
    job_id = answer.job = ledger.transact(lambda connection: _open_job(connection, request, found, recipe_id))
    take_in = partial(intake.take_in, job_id=job_id, recipe_id=recipe_id, again=request.mode == "replace")
    try:
        for chunk in _with(first, chunks):
            taken = ledger.transact(partial(take_in, found=chunk, so_far=answer.queued))
            if not answer.units:
                call(settings, taken.units)  # workers begin while the rest is still being found
            answer.found += taken.found
            answer.queued += taken.queued
            answer.units += taken.units[:1]
            answer.refused = pictures.left_out
            progress(answer)
    finally:  # interrupted: what was found so far is captioned, the rest joins at the next enqueue
        ledger.transact(lambda connection: intake.close_job(connection, job_id))
    return answer


def _open_job(connection: Connection, request: Request, model: Weights, recipe_id: int | None) -> int:
    return intake.open_job(
        connection,
        kind="caption",
        source=request.source,
        model=model.pinned,
        recipe_id=recipe_id,
        parameters={
            "mode": request.mode,
            "precision": request.precision,
            "batch_size": request.batch_size,
            "paths": absolute(request.watched or request.paths),
            "recipe": request.recipe,
        },
        priority=PRIORITIES[request.priority],
    )


def count(ledger: Ledger, settings: Settings, request: Request, progress: Callable[[Enqueued], None]) -> Enqueued:
    """What `enqueue` would do, without doing it.

    Raises as `enqueue` does.
    """
    found, recipe_id = resolve(ledger, settings, request)
    pictures = _Pictures(_looked_up(ledger, request))
    answer = Enqueued(None, found.pinned, reasons=pictures.refused)
    for chunk in _chunks(pictures):
        with ledger.read() as connection:
            again = request.mode == "replace"
            answer.queued += len(chunk) - (0 if again else intake.captioned(connection, recipe_id, chunk))
        answer.found += len(chunk)
        answer.refused = pictures.left_out
        progress(answer)
    if not answer.found:
        raise NothingFound(_nothing(request, pictures))
    return answer


def resolve(ledger: Ledger, settings: Settings, request: Request) -> tuple[Weights, int | None]:
    """Exact weights and recipe; where only workers can reach the Hub, the name as it is and no recipe yet."""
    try:
        return ledger.transact(lambda connection: _resolve(connection, request))
    except HubUnreachable:
        if settings.embedded:
            raise
        Recipe(weights="", **request.recipe)  # the rest of it is checked here and now
        return Weights("", request.model), None
    except TypeError as error:
        raise BadRecipe(str(error)) from None


def _resolve(connection: Connection, request: Request) -> tuple[Weights, int]:
    found = weights.resolve(connection, request.model)
    asked = Recipe(weights=found.id, **request.recipe)
    return found, recipes.record(connection, asked, found.pinned)


def call(settings: Settings, units: Sequence[int]) -> None:
    """Have work looked at: start the local daemon where the broker is ours, and ring.

    A bell that cannot be rung is no error: sweepers ring for what is due within 2 s.
    """
    from blipq.worker.broker import BrokerError

    if settings.embedded:
        daemon.start(settings, idle=settings.idle)
    if units:
        from blipq.worker.app import ring

        try:
            ring(settings, "caption", units)
        except BrokerError as error:
            if not settings.embedded:
                from blipq.producer.output import say

                say(f"Warning: {error}; the job is safe, and workers find it once the broker is back")


class _Pictures:
    """The scan, with what it refuses kept apart."""

    def __init__(self, seen: Iterator[Found | Refused]) -> None:
        self._seen = seen
        self.refused: list[Refused] = []
        self.left_out = 0

    def __iter__(self) -> Iterator[Found]:
        for one in self._seen:
            if isinstance(one, Refused):
                self.left_out += 1
                if len(self.refused) < LISTED:
                    self.refused.append(one)
            else:
                yield one


def _chunks(pictures: Iterable[Found]) -> Iterator[list[Found]]:
    """Chunks of one transaction each; the first is small, so that the first worker starts at once."""
    source = iter(pictures)
    size = 256
    while chunk := list(islice(source, size)):
        yield chunk
        size = CHUNK


def _with(first: list[Found], rest: Iterator[list[Found]]) -> Iterator[list[Found]]:
    yield first
    yield from rest


def _looked_up(ledger: Ledger, request: Request) -> Iterator[Found | Refused]:
    yield from scan(request.paths)
    if request.where is not None:
        with ledger.read() as connection:
            for photo in photos(connection, Selection(where=request.where, uncaptioned=True)):
                yield look(photo.file)


def _nothing(request: Request, pictures: _Pictures) -> str:
    shown = request.source
    if pictures.refused:
        return f"nothing to caption in {shown}: {pictures.refused[0].path} is {pictures.refused[0].reason}"
    if request.where is not None:
        return f"there is no known photo for which this holds: {request.where} (a condition over the view photos)"
    return f"no pictures in {shown} (looked into folders below too; hidden files are left out)"
