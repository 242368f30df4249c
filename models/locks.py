"""The one order in which rows are locked, so that on PostgreSQL nobody waits in a circle.

Units by their ids, then images, then files, then runs, then jobs, each by its id; what is new among images and files by
its hash or path before what is there. Whoever holds a job waits for no unit any more: `claim`, which locks the job
first, skips units that are locked. Captions, items and failures are only ever reached through what is locked above.
SQLite has one writer at a time and needs none of this.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, select

from blipq.models.schema import job, unit


def lock_jobs(connection: Connection, jobs: ColumnElement[bool], units: ColumnElement[bool]) -> dict[int, str]:
    """Lock those units of some jobs for which something holds, then the jobs; the jobs' states by their ids.

    Until the transaction ends nothing of these jobs is claimed, ended, retried or cancelled by others, and what is read
    from now on is what they left. `units` should name the running ones: theirs are the counts that workers change.
    """
    chosen = select(unit.c.id).where(unit.c.job_id.in_(select(job.c.id).where(jobs)), units)
    while True:
        attempt = connection.begin_nested()
        locked = set(connection.scalars(chosen.order_by(unit.c.id).with_for_update()))
        query = select(job.c.id, job.c.state).where(jobs).order_by(job.c.id).with_for_update(key_share=True)
        states = {row.id: row.state for row in connection.execute(query)}
        if locked.issuperset(connection.scalars(chosen)):
            attempt.commit()
            return states
        # More was claimed between the two. To wait for those units with the jobs in hand would be a circle: let go.
        attempt.rollback()
