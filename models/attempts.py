"""Attempts at a job that came to nothing: its model could not be made ready, or its worker's process died over it.

A job that nobody can do must end and say why, or it keeps its workers from everything behind it. Both count in a row:
`job.attempts` until its model is made ready by anybody, `job.deaths` until the first picture comes of the job. Its end
takes both back to 0, for a retry.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, exists, func, select, update

from blipq.models.lease import NOT_OVER, expire, fail_job, postpone, release
from blipq.models.schema import db_now, job, run, unit, worker

LOADS = 3  # attempts to make the model ready, after which a job fails
DEATHS = 16  # of processes over its pictures: cornering one of 64 takes 8
AGAIN_SECONDS = (1.0, 3.0)  # after the first and the second: others' jobs go first, and whoever waits hears it soon


def loads(connection: Connection, worker_id: int, job_id: int, model: str) -> None:
    """A worker begins to make a job's model ready: if its process dies meanwhile, that counts against the job."""
    values = {"loading_job": job_id, "state": "loading", "model": model, "seen_at": db_now()}
    connection.execute(update(worker).where(worker.c.id == worker_id).values(**values))


def loaded(connection: Connection, worker_id: int, model: str | None = None) -> None:
    """It ended: with the model ready, which takes back what failed before at any job of it; or (None) not."""
    connection.execute(update(worker).where(worker.c.id == worker_id).values(loading_job=None))
    if model is not None:
        doubted = (job.c.model == model, job.c.attempts > 0, job.c.state.in_(NOT_OVER))
        connection.execute(
            update(job)
            .where(job.c.id.in_(select(job.c.id).where(*doubted).order_by(job.c.id).with_for_update(key_share=True)))
            .values(attempts=0)
        )


def failed_to_load(connection: Connection, job_id: int, reason: str) -> bool:
    """A job's model could not be made ready: let the job wait, or fail at the third time.

    False where that does not count: the job is over or waits already (several workers fail at once over one fault), or
    another worker is doing it just now, so that the fault is this worker's.
    """
    return _count(connection, job_id, f"the model cannot be used: {reason}", LOADS, AGAIN_SECONDS)


def bury(connection: Connection, worker_id: int, how: str | None, on_model: Collection[int]) -> int:
    """A worker's process died: its units are due again, and what it was about counts against that job.

    `how` it died, such as "was ended by SIGKILL"; None where it was told to end, or nobody can say: then it is no job's
    fault. `on_model`: the units that it died of (see `lease.expire`). Returns how many units it held, or 1 where it
    died over a job's model.
    """
    loading = connection.scalar(select(worker.c.loading_job).where(worker.c.id == worker_id))
    if loading is not None:
        release(connection, worker_id)  # none of these pictures was on the model
        loaded(connection, worker_id)
        reason = f"the model cannot be used: the process that loads it {how}"
        return 0 if how is None else int(_count(connection, loading, reason, LOADS, AGAIN_SECONDS))
    held = select(unit.c.job_id).where(unit.c.worker_id == worker_id, unit.c.state == "running")
    at_work = list(connection.scalars(held.distinct().order_by(unit.c.job_id)))
    units = expire(connection, worker_id, on_model)
    if how is not None:
        for job_id in at_work:
            _count(connection, job_id, f"the model's process {how} over every batch", DEATHS, ())
    return units


def proven(connection: Connection, job_id: int) -> None:
    """Something came of a job: what failed before counts no more."""
    connection.execute(update(job).where(job.c.id == job_id).values(attempts=0, deaths=0))


def _count(connection: Connection, job_id: int, reason: str, most: int, waits: tuple[float, ...]) -> bool:
    """Count an attempt; with `waits` as the reason for which the job waits."""
    # Units are locked before their job, and the job like this, by everybody: see lease.settle.
    counter = job.c.attempts if waits else job.c.deaths
    locked = select(
        job.c.kind, job.c.priority, job.c.state, counter.label("before"), (job.c.run_after > db_now()).label("waits")
    )
    row = connection.execute(locked.where(job.c.id == job_id).with_for_update(key_share=True)).first()
    if row is None or row.state not in NOT_OVER or (waits and row.waits):
        return False
    if not waits and row.kind != "caption":
        return False  # the crashes of a run's unit count, from its newest checkpoint on
    if connection.scalar(select(exists().where(unit.c.job_id == job_id, unit.c.state == "running"))):
        return False
    attempts = row.before + 1
    if attempts < most:
        connection.execute(update(job).where(job.c.id == job_id).values({counter: attempts}))
        if waits:
            _go_last(connection, job_id, row.kind, row.priority)
            postpone(connection, job_id, waits[min(attempts, len(waits)) - 1], f"{reason}; tried again")
        return True
    note = f"{reason} ({attempts} attempts): mend it, then `blipq retry {job_id}`, or use another model"
    proven(connection, job_id)
    fail_job(connection, job_id, note)
    connection.execute(update(run).where(run.c.job_id == job_id).values(note=note, ended_at=db_now()))
    return True


def _go_last(connection: Connection, job_id: int, kind: str, priority: int) -> None:
    """Let all equals have their turn before: a process that had to start anew may have outlasted the wait."""
    equals = job.alias()
    most = select(func.max(equals.c.served)).where(
        equals.c.kind == kind, equals.c.priority == priority, equals.c.state.in_(NOT_OVER)
    )
    connection.execute(update(job).where(job.c.id == job_id).values(served=most.scalar_subquery() + 1))
