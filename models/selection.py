"""Which photos a person means: those of a job, those that a condition in SQL holds for, or all that have a caption."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, FromClause, Select, column, func, select, table, text
from sqlalchemy.exc import DBAPIError

from blipq.models.control import NoSuchJob
from blipq.models.reading import BadQuery
from blipq.models.schema import caption, file, item, job
from blipq.models.views import VIEWS

PAGE = 1000  # rows in memory at once

_NAMES = ("path", "caption", "source", "model", "score", "flag", "created_at", "file_id", "image_id", "caption_id")


class Photo(NamedTuple):
    """A photo with its caption, as a row of the views `photos` and `results`. A tuple: a million of them go by."""

    path: str
    caption: str
    source: str  # human or model
    model: str | None
    score: float | None
    flag: str | None
    created_at: Any  # text on SQLite, datetime on PostgreSQL
    file_id: int
    image_id: int
    raw: bytes | None  # the name, where it is no UTF-8
    size: int
    mtime_ns: int

    @property
    def file(self) -> bytes:
        """The path as the operating system knows it."""
        return self.raw if self.raw is not None else os.fsencode(self.path)


@dataclass(frozen=True)
class Selection:
    """Photos of `job_id`, for which `where` holds: a condition over the view `results` with a job, else over `photos`.

    With `uncaptioned`, photos without any caption are among them.
    """

    job_id: int | None = None
    where: str | None = None
    uncaptioned: bool = False


def photos(connection: Connection, selection: Selection) -> Iterator[Photo]:
    """The photos of a selection, one at a time, in the order in which they were first enqueued.

    Raises BadQuery where the condition is no SQL, NoSuchJob.
    """
    view, query = _query(connection, selection)
    columns = (file.c.path_raw, file.c.size, file.c.mtime_ns)
    wanted = query.add_columns(*[view.c[name] for name in _NAMES[:-1]], *columns).order_by(view.c.file_id)
    try:
        answer = connection.execution_options(yield_per=PAGE).execute(wanted)
    except DBAPIError as error:
        raise _explained(error) from None
    return (Photo._make(row) for page in answer.partitions() for row in page)


def ends(connection: Connection, selection: Selection) -> tuple[str, str] | None:
    """The first and the last path of a selection in the order of their bytes: what they have in common, all have."""
    view, query = _query(connection, selection)
    path: ColumnElement[str] = view.c.path
    if connection.dialect.name == "postgresql":
        path = path.collate("C")
    try:
        row = connection.execute(query.add_columns(func.min(path), func.max(path))).one()
    except DBAPIError as error:
        raise _explained(error) from None
    return (row[0], row[1]) if row[0] is not None else None


def _query(connection: Connection, selection: Selection) -> tuple[FromClause, Select[Any]]:
    """The view that is asked, and the selection of it joined with `file`, without columns yet."""
    name = "photos" if selection.job_id is None else "results"
    view: FromClause = table(name, *map(column, _NAMES))
    if selection.where is not None:
        # Only names of the view are known inside, and a comment at the end cannot swallow the bracket.
        held = f"SELECT * FROM {name} WHERE ({selection.where}\n)"
        view = text(held.replace(":", r"\:")).columns(*map(column, _NAMES)).subquery(name)
    query: Select[Any] = select().select_from(view).join(file, file.c.id == view.c.file_id)
    if selection.job_id is not None:
        made = select(caption.c.recipe_id).where(caption.c.id == view.c.caption_id).scalar_subquery()
        mine = select(item.c.id).where(item.c.file_id == view.c.file_id, item.c.job_id == selection.job_id)
        query = query.where(made == _recipe(connection, selection.job_id), mine.exists())
    elif not selection.uncaptioned:
        query = query.where(view.c.caption.is_not(None))
    return view, query


def _recipe(connection: Connection, job_id: int) -> int | None:
    row = connection.execute(select(job.c.recipe_id).where(job.c.id == job_id)).first()
    if row is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    return row.recipe_id  # type: ignore[no-any-return]


def _explained(error: DBAPIError) -> BadQuery:
    said = " ".join(str(error.orig).split())
    near = f" (views: {', '.join(VIEWS)})" if "no such" in said or "does not exist" in said else ""
    return BadQuery(f"--where: {said}{near}")
