"""What a person does to jobs and queues: cancel, retry, pause, resume."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, insert, select, true, update

from blipq.models.lease import NOT_OVER, UNIT_ITEMS, abandoned, new_fence, settle
from blipq.models.locks import lock_jobs
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
    if _lock(connection, job_id, unit.c.state == "running") in ENDED:
        return 0
    return _cancel(connection, job_id)


def cancel_overdue(connection: Connection) -> int | None:
    """Cancel a job whose caller no longer waits; its id, None where there is none left.

    One a transaction: whoever holds a job must not wait for the units of another.
    """
    overdue = (job.c.deadline < db_now(), job.c.state.in_(NOT_OVER))
    job_id = connection.scalar(select(job.c.id).where(*overdue).order_by(job.c.id).limit(1))
    if job_id is None:
        return None
    lock_jobs(connection, job.c.id == job_id, unit.c.state == "running")
    if connection.scalar(select(job.c.id).where(job.c.id == job_id, *overdue)):  # nobody ended or retried it meanwhile
        _cancel(connection, job_id)
    return int(job_id)


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
    if connection.scalar(select(exists().where(run.c.job_id == job_id))):
        return _retry_run(connection, job_id)
    # Running ones too: a worker may be ending pictures of them just now.
    with_failures = unit.c.failed > 0
    state = _lock(connection, job_id, with_failures | (unit.c.state == "running"))
    left = _left(connection, job_id) if state in ENDED else 0
    failed = _requeue_failed(connection, job_id, with_failures & (unit.c.job_id == job_id))
    if not (failed or everything or state == "failed"):
        left = 0
    if (failed or left) and state in ENDED:  # what was cancelled goes on with the rest of its job
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


def _lock(connection: Connection, job_id: int, units: ColumnElement[bool]) -> str:
    """A job's state, which nobody else changes from now on, nor the units of it for which something holds."""
    state = lock_jobs(connection, job.c.id == job_id, units).get(job_id)
    if state is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    return state


def _cancel(connection: Connection, job_id: int) -> int:
    connection.execute(
        update(unit)
        .where(unit.c.job_id == job_id, unit.c.state == "running")
        .values(state="queued", worker_id=None, fence=new_fence(), lease_until=None)
    )
    left = _left(connection, job_id)
    connection.execute(update(job).where(job.c.id == job_id).values(state="cancelled", ended_at=db_now(), note=None))
    return left


def _left(connection: Connection, job_id: int) -> int:
    """Pictures of units that nobody has ended."""
    open_units = unit.c.state.in_(("queued", "running"))
    left = select(func.sum(unit.c.pictures - unit.c.done - unit.c.failed)).where(unit.c.job_id == job_id, open_units)
    return int(connection.scalar(left) or 0)


def _requeue_failed(connection: Connection, job_id: int, units: ColumnElement[bool]) -> int:
    """Cut the failed pictures of some units, which are locked, into new units; how many they are."""
    rows = connection.execute(
        select(item.c.id, item.c.file_id, item.c.unit_id)
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
    if rows:
        _take_out(connection, Counter(row.unit_id for row in rows))
    return len(rows)


def _take_out(connection: Connection, counts: Counter[int]) -> None:
    """Units that gave failed pictures away count them no more: the job's sums stay true."""
    fewer = bindparam("fewer", type_=unit.c.failed.type)
    connection.execute(
        update(unit)
        .where(unit.c.id == bindparam("unit"))
        .values(pictures=unit.c.pictures - fewer, failed=unit.c.failed - fewer),
        [{"unit": unit_id, "fewer": counts[unit_id]} for unit_id in sorted(counts)],
    )


def _retry_run(connection: Connection, job_id: int) -> int:
    if _lock(connection, job_id, true()) not in ("failed", "cancelled"):
        return 0
    connection.execute(
        update(unit)
        .where(unit.c.job_id == job_id)
        .values(state="queued", crashes=0, lapses=0, failed=0, run_after=0, worker_id=None, fence=new_fence())
    )
    connection.execute(update(job).where(job.c.id == job_id).values(state="queued", ended_at=None, note=None))
    connection.execute(update(run).where(run.c.job_id == job_id).values(stranded_at=None))
    return 1
