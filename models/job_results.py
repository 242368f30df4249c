"""A job's captions and failures, page by page, for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, column, literal, null, select, table, union_all

from blipq.models.control import NoSuchJob
from blipq.models.schema import failure, file, item, job

_RESULTS = table(
    "results",
    *map(column, ("file_id", "path", "caption", "source", "model", "score", "flag", "model_caption", "recipe_id")),
)


def results(connection: Connection, job_id: int, after: int, limit: int | None) -> Iterator[dict[str, Any]]:
    """Rows by file id, from behind one: id, path, caption, source, model, score, flag, model_caption, error, message.

    A photo has a caption or an error, never both. Streamed. Raises NoSuchJob.
    """
    row = connection.execute(select(job.c.recipe_id).where(job.c.id == job_id)).first()
    if row is None:
        raise NoSuchJob(f"no job {job_id}")
    seen = _RESULTS
    captioned = (
        select(
            seen.c.file_id.label("id"),
            seen.c.path,
            seen.c.caption,
            seen.c.source,
            seen.c.model,
            seen.c.score,
            seen.c.flag,
            seen.c.model_caption,
            null().label("error"),
            null().label("message"),
        )
        .join(item, (item.c.file_id == seen.c.file_id) & (item.c.job_id == job_id) & (item.c.state == "done"))
        .where(seen.c.recipe_id == row.recipe_id, seen.c.file_id > after)
    )
    failed = (
        select(
            failure.c.file_id.label("id"),
            file.c.path,
            *(null().label(name) for name in ("caption", "source")),
            literal(None).label("model"),
            *(null().label(name) for name in ("score", "flag", "model_caption")),
            failure.c.kind.label("error"),
            failure.c.message,
        )
        .join(file, file.c.id == failure.c.file_id)
        .where(failure.c.job_id == job_id, failure.c.file_id > after)
    )
    both = union_all(captioned, failed).subquery()
    answer = connection.execution_options(yield_per=1000).execute(select(both).order_by(both.c.id).limit(limit))
    return (dict(found) for found in answer.mappings())
