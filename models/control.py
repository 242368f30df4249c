"""What a person does to jobs and queues: cancel, retry, pause, resume."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, exists, func, insert, select, update

from blipq.models.lease import UNIT_ITEMS, abandoned, new_fence, settle
from blipq.models.rows import upsert
from blipq.models.schema import db_now, failure, item, job, queue, run, unit

QUEUES = ("caption", "train")
ENDED = ("done", "failed", "cancelled")


class NoSuchJob(LookupError):
    """A number that no job has."""


def cancel(connection: Connection, job_id: int) -> int:
    """Take back what a job has left to do. Running units lose their fence, so that nothing more is written of them;
    what is left stays queued in a job that is over, where nobody claims it and `retry --all` finds it.

    Returns the number of pictures that will not be captioned. Raises NoSuchJob.
    """
    state = _state(connection, job_id)
    if state in ENDED:
        return 0
    running = (
        select(unit.c.id)
        .where(unit.c.job_id == job_id, unit.c.state == "running")
        .order_by(unit.c.id)
        .with_for_update()
    )
    connection.execute(
        update(unit)
        .where(unit.c.id.in_(running))
        .values(state="queued", worker_id=None, fence=new_fence(), lease_until=None)
    )
    left = _left(connection, job_id)
    connection.execute(update(job).where(job.c.id == job_id).values(state="cancelled", ended_at=db_now(), note=None))
    return left


def cancel_overdue(connection: Connection) -> list[int]:
    """Cancel the jobs whose callers no longer wait."""
    overdue = select(job.c.id).where(job.c.deadline < db_now(), job.c.state.in_(("scanning", "queued", "running")))
    ids = list(connection.scalars(overdue))
    for job_id in ids:
        cancel(connection, job_id)
    return ids


def close_abandoned(connection: Connection) -> list[int]:
    """Let jobs end whose enqueue died: what it found is captioned, the rest joins at the next enqueue. Their ids."""
    ids = list(
        connection.scalars(select(job.c.id).where(abandoned()).order_by(job.c.id).with_for_update(key_share=True))
    )
    for job_id in ids:
        connection.execute(update(job).where(job.c.id == job_id).values(state="queued"))
        settle(connection, job_id)
    return ids


def retry(connection: Connection, job_id: int, *, everything: bool = False) -> int:
    """Queue a job's failed pictures again; with `everything` also those that were cancelled before their turn.

    A training job is queued as it stands: it goes on from its newest checkpoint. Returns how many pictures (or 1).
    Raises NoSuchJob.
    """
    state = _state(connection, job_id)
    if connection.scalar(select(exists().where(run.c.job_id == job_id))):
        return _retry_run(connection, job_id, state)
    with_failures = (unit.c.job_id == job_id) & (unit.c.failed > 0)
    # Locked before they are counted: a worker may be ending pictures of them just now.
    connection.execute(select(unit.c.id).where(with_failures).order_by(unit.c.id).with_for_update())
    left = _left(connection, job_id) if everything or state == "failed" else 0
    failed = _requeue_failed(connection, job_id, with_failures)
    _take_out(connection, with_failures)
    if (failed or left) and state in ENDED:
        again = {"state": "queued", "ended_at": None, "note": None, "deadline": None, "run_after": 0}
        connection.execute(update(job).where(job.c.id == job_id).values(**again))
    settle(connection, job_id)
    return failed + left


def set_paused(connection: Connection, queue_name: str, paused: bool) -> None:
    """Stop or go on handing out units of a queue; what is running ends its batch and is handed back."""
    values = {"paused": paused, "changed_at": db_now()}
    connection.execute(
        upsert(connection, queue)
        .values(name=queue_name, **values)
        .on_conflict_do_update(index_elements=["name"], set_=values)
    )


def is_paused(connection: Connection, queue_name: str) -> bool:
    """Whether a queue hands out nothing."""
    return bool(connection.scalar(select(queue.c.paused).where(queue.c.name == queue_name)))


def _state(connection: Connection, job_id: int) -> str:
    state = connection.scalar(select(job.c.state).where(job.c.id == job_id))
    if state is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    return str(state)


def _left(connection: Connection, job_id: int) -> int:
    """Pictures of units that nobody has ended."""
    open_units = unit.c.state.in_(("queued", "running"))
    left = select(func.sum(unit.c.pictures - unit.c.done - unit.c.failed)).where(unit.c.job_id == job_id, open_units)
    return int(connection.scalar(left) or 0)


def _requeue_failed(connection: Connection, job_id: int, units: ColumnElement[bool]) -> int:
    """Cut the failed pictures of some units into new units; how many they are."""
    rows = connection.execute(
        select(item.c.id, item.c.file_id)
        .where(item.c.unit_id.in_(select(unit.c.id).where(units)), item.c.state == "failed")
        .order_by(item.c.id)
    ).all()
    for part in (rows[start : start + UNIT_ITEMS] for start in range(0, len(rows), UNIT_ITEMS)):
        made = connection.execute(
            insert(unit).values(job_id=job_id, queue="caption", state="queued", pictures=len(part)).returning(unit.c.id)
        ).scalar_one()
        connection.execute(
            update(item).where(item.c.id.in_([row.id for row in part])).values(unit_id=made, state="queued")
        )
        files = [row.file_id for row in part]
        connection.execute(failure.delete().where(failure.c.job_id == job_id, failure.c.file_id.in_(files)))
    return len(rows)


def _take_out(connection: Connection, units: ColumnElement[bool]) -> None:
    """Units that gave their failed pictures away count what is left in them: the job's sums stay true."""
    left = select(func.count()).where(item.c.unit_id == unit.c.id).scalar_subquery()
    connection.execute(update(unit).where(units).values(pictures=left, failed=0))


def _retry_run(connection: Connection, job_id: int, state: str) -> int:
    if state not in ("failed", "cancelled"):
        return 0
    connection.execute(
        update(unit)
        .where(unit.c.job_id == job_id)
        .values(state="queued", crashes=0, failed=0, run_after=0, worker_id=None, fence=new_fence())
    )
    connection.execute(update(job).where(job.c.id == job_id).values(state="queued", ended_at=None, note=None))
    connection.execute(update(run).where(run.c.job_id == job_id).values(stranded_at=None))
    return 1
