"""Reading captions back, and running a person's own queries: always read-only, always streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, column, select, table, text
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from blipq.models.control import NoSuchJob
from blipq.models.schema import item, job
from blipq.models.views import VIEWS

Rows = tuple[Sequence[str], Iterator[Sequence[Any]]]

_RESULTS = table(
    "results",
    *map(
        column, ("path", "caption", "score", "flag", "model", "prompt", "source", "created_at", "file_id", "recipe_id")
    ),
)
_PHOTOS = table(
    "photos", *map(column, ("path", "caption", "score", "flag", "model", "source", "created_at", "file_id"))
)
_FAILURES = table("failures", *map(column, ("path", "kind", "message", "attempts", "job", "created_at", "file_id")))


class BadQuery(ValueError):
    """A query that the database does not take; one line."""


def current(connection: Connection, *, flagged: bool = False, limit: int | None = None) -> Rows:
    """The current caption of each photo: the person's, else the promoted model's, else the newest."""
    query = select(*[c for c in _PHOTOS.c if c.name != "file_id"]).where(_PHOTOS.c.caption.is_not(None))
    if flagged:
        query = query.where(_PHOTOS.c.flag.is_not(None))
    return _stream(connection, query.order_by(_PHOTOS.c.file_id).limit(limit))


def of_job(connection: Connection, job_id: int, *, flagged: bool = False, limit: int | None = None) -> Rows:
    """What a job captioned.

    Raises NoSuchJob.
    """
    recipe_id = _recipe(connection, job_id)
    query = (
        select(*[c for c in _RESULTS.c if c.name not in ("file_id", "recipe_id")])
        .join(item, (item.c.file_id == _RESULTS.c.file_id) & (item.c.job_id == job_id))
        .where(_RESULTS.c.recipe_id == recipe_id)
    )
    if flagged:
        query = query.where(_RESULTS.c.flag.is_not(None))
    return _stream(connection, query.order_by(_RESULTS.c.file_id).limit(limit))


def failed(connection: Connection, job_id: int | None = None, limit: int | None = None) -> Rows:
    """The pictures without a caption and why, of a job or of all."""
    query = select(*[c for c in _FAILURES.c if c.name != "file_id"])
    if job_id is not None:
        _recipe(connection, job_id)
        query = query.where(_FAILURES.c.job == job_id)
    return _stream(connection, query.order_by(_FAILURES.c.file_id).limit(limit))


def run_query(connection: Connection, query: str) -> Rows:
    """Run a person's SQL; the connection cannot write.

    Raises BadQuery.
    """
    try:
        return _stream(connection, text(query.replace(":", r"\:")))
    except DBAPIError as error:
        said = " ".join(str(error.orig).split())
        if "readonly" in said or "read-only" in said:
            raise BadQuery("queries only read: nothing was changed") from None
        near = f" (views: {', '.join(VIEWS)})" if "no such" in said or "does not exist" in said else ""
        raise BadQuery(f"the query failed: {said}{near}") from None
    except ResourceClosedError:
        raise BadQuery("that statement answers with no rows: queries only read") from None


def _recipe(connection: Connection, job_id: int) -> int | None:
    row = connection.execute(select(job.c.recipe_id).where(job.c.id == job_id)).first()
    if row is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    return row.recipe_id  # type: ignore[no-any-return]


def _stream(connection: Connection, query: Any) -> Rows:
    answer = connection.execution_options(yield_per=1000).execute(query)
    return list(answer.keys()), iter(answer)
