"""A picture that came by HTTP: its bytes lie in the ledger until the caller has the answer, and then leave no row."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, true, update

from blipq.models import intake
from blipq.models.control import ENDED
from blipq.models.locks import lock_jobs
from blipq.models.schema import PRIORITIES, caption, db_now, failure, file, item, job, unit, upload

PREFIX = "upload:"  # of such a file's path; views leave these files out
KEPT_SECONDS = 60.0  # what nobody fetched, after its job ended: its caller is gone


@dataclass(frozen=True)
class Received:
    """A picture that waits for its caption: a job of its own, of one unit."""

    job_id: int
    file_id: int
    unit_id: int


@dataclass(frozen=True)
class Answer:
    """What came of it: a caption with its score and flag; or the kind of failure; or only the job's state and note."""

    state: str
    note: str | None
    caption: str | None
    score: float | None
    flag: str | None
    kind: str | None
    message: str | None


def receive(
    connection: Connection,
    data: bytes,
    name: str,
    *,
    model: str,
    recipe_id: int | None,
    parameters: dict[str, Any],
    deadline_in: float,
) -> Received:
    """Store a picture and queue it before everybody else's: all of it in the caller's transaction.

    After `deadline_in` seconds the job is cancelled, whether or not its caller lives.
    """
    job_id = intake.open_job(
        connection,
        kind="caption",
        source=PREFIX + name,
        model=model,
        recipe_id=recipe_id,
        parameters=parameters,
        priority=PRIORITIES["high"],
        total=1,
        deadline_in=deadline_in,
    )
    made = insert(file).values(path=f"{PREFIX}{job_id}/{name}", size=len(data), mtime_ns=0).returning(file.c.id)
    file_id = connection.execute(made).scalar_one()
    connection.execute(insert(upload).values(file_id=file_id, data=data))
    unit_id = connection.execute(
        insert(unit).values(job_id=job_id, queue="caption", state="queued", pictures=1).returning(unit.c.id)
    ).scalar_one()
    connection.execute(insert(item).values(job_id=job_id, unit_id=unit_id, file_id=file_id))
    connection.execute(update(job).where(job.c.id == job_id).values(state="queued"))
    return Received(job_id, file_id, unit_id)


def read_answer(connection: Connection, received: Received) -> Answer:
    """What the ledger says of a picture; the model's own caption, whatever a person made of that content."""
    row = connection.execute(
        select(
            job.c.state,
            job.c.note,
            caption.c.text,
            caption.c.score,
            caption.c.flag,
            failure.c.kind,
            failure.c.message,
        )
        .select_from(job)
        .join(file, file.c.id == received.file_id)
        .outerjoin(caption, (caption.c.image_id == file.c.image_id) & (caption.c.recipe_id == job.c.recipe_id))
        .outerjoin(failure, (failure.c.job_id == job.c.id) & (failure.c.file_id == file.c.id))
        .where(job.c.id == received.job_id)
    ).one()
    return Answer(*row)


def forget(connection: Connection, job_ids: Collection[int]) -> None:
    """Delete such pictures' bytes, and every row but the image's and its caption's, of those jobs that are over."""
    states = lock_jobs(connection, job.c.id.in_(job_ids), true())
    job_ids = [job_id for job_id, state in states.items() if state in ENDED]
    files = list(connection.scalars(select(item.c.file_id).where(item.c.job_id.in_(job_ids))))
    for table in (failure, item, unit):
        connection.execute(delete(table).where(table.c.job_id.in_(job_ids)))
    connection.execute(delete(upload).where(upload.c.file_id.in_(files)))
    connection.execute(delete(file).where(file.c.id.in_(files), file.c.path.startswith(PREFIX)))
    connection.execute(delete(job).where(job.c.id.in_(job_ids)))


def abandoned(connection: Connection) -> list[int]:
    """Jobs of pictures whose callers went away before they could be forgotten: at most 500."""
    over = or_(job.c.ended_at < db_now() - KEPT_SECONDS, job.c.deadline < db_now() - KEPT_SECONDS)
    query = (
        select(job.c.id)
        .join(item, item.c.job_id == job.c.id)
        .join(upload, upload.c.file_id == item.c.file_id)
        .where(over, job.c.state.in_(ENDED))
    )
    return list(connection.scalars(query.limit(500)))
