"""What is going on, read from the rows: jobs, queues, workers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, and_, case, column, exists, func, select, table

from blipq.models.fleet import ALIVE_SECONDS
from blipq.models.schema import db_now, job, queue, unit, worker
from blipq.models.starts import FAILED, HEARD_SECONDS

_DONE = func.coalesce(func.sum(unit.c.done), 0)
_FAILED = func.coalesce(func.sum(unit.c.failed), 0)


@dataclass(frozen=True)
class JobStatus:
    """A job and its sums. `running` counts the pictures in units that a worker holds."""

    id: int
    kind: str
    state: str
    source: str
    model: str
    priority: int
    total: int
    skipped: int
    queued: int
    running: int
    done: int
    failed: int
    note: str | None
    seconds: float | None  # since its first claim, until its end
    created_at: float

    @property
    def remaining(self) -> int:
        """Pictures that still wait for a caption."""
        return self.queued + self.running

    @property
    def rate(self) -> float | None:
        """Pictures a second over the job's whole life."""
        ended = self.done + self.failed
        return ended / self.seconds if self.seconds and ended else None


def jobs(
    connection: Connection, *, job_id: int | None = None, limit: int = 20, only_open: bool = False
) -> list[JobStatus]:
    """Jobs with their sums, newest first."""
    chosen = select(job.c.id).order_by(job.c.id.desc()).limit(limit)
    if job_id is not None:
        chosen = chosen.where(job.c.id == job_id)
    if only_open:
        chosen = chosen.where(job.c.state.in_(("scanning", "queued", "running")))
    is_open = job.c.state.in_(("scanning", "queued", "running"))
    left = unit.c.pictures - unit.c.done - unit.c.failed
    rows = connection.execute(
        select(
            job.c.id,
            job.c.kind,
            job.c.state,
            job.c.source,
            job.c.model,
            job.c.priority,
            job.c.total,
            job.c.skipped,
            func.coalesce(func.sum(case((and_(is_open, unit.c.state == "queued"), left), else_=0)), 0),
            func.coalesce(func.sum(case((unit.c.state == "running", left), else_=0)), 0),
            _DONE,
            _FAILED,
            job.c.note,
            func.coalesce(job.c.ended_at, db_now()) - job.c.started_at,
            job.c.created_at,
        )
        .select_from(job.outerjoin(unit, unit.c.job_id == job.c.id))
        .where(job.c.id.in_(chosen))
        .group_by(job.c.id)
        .order_by(job.c.id.desc())
    )
    return [JobStatus(*tuple(row)) for row in rows]


def workers(connection: Connection, *, queue_name: str | None = None) -> list[RowMapping]:
    """Workers heard of lately: name, queue, device, state, model, rate, note, seconds since last seen.

    The last start that failed is among them, in the state `failed`; see `models.starts`.
    """
    later = worker.alias()
    older = exists().where(
        worker.c.state == FAILED,
        later.c.state == FAILED,
        *(later.c[name] == worker.c[name] for name in ("host", "queue", "device")),
        later.c.id > worker.c.id,
    )
    alive = and_(worker.c.state != "stopped", worker.c.seen_at > db_now() - HEARD_SECONDS, ~older)
    query = select(
        worker.c.id,
        worker.c.name,
        worker.c.host,
        worker.c.pid,
        worker.c.queue,
        worker.c.device,
        case(
            (and_(worker.c.state != FAILED, worker.c.seen_at < db_now() - ALIVE_SECONDS), "lost"),
            else_=worker.c.state,
        ).label("state"),
        worker.c.model,
        worker.c.rate,
        worker.c.note,
        (db_now() - worker.c.seen_at).label("seen"),
    ).where(alive)
    if queue_name is not None:
        query = query.where(worker.c.queue == queue_name)
    return list(connection.execute(query.order_by(worker.c.id)).mappings())


def living(connection: Connection) -> list[RowMapping]:
    """The rows of `workers` that stand for a process: those that are not lost and did not fail to begin."""
    return [row for row in workers(connection) if row["state"] not in ("lost", FAILED)]


def paused(connection: Connection) -> list[str]:
    """Queues that hand out nothing."""
    return list(connection.scalars(select(queue.c.name).where(queue.c.paused).order_by(queue.c.name)))


def work_left(connection: Connection) -> int:
    """Units that are queued or running in jobs that are not over."""
    return int(
        connection.scalar(
            select(func.count())
            .select_from(unit.join(job, job.c.id == unit.c.job_id))
            .where(job.c.state.in_(("scanning", "queued", "running")), unit.c.state.in_(("queued", "running")))
        )
        or 0
    )


def failures(connection: Connection, job_id: int | None = None, limit: int | None = None) -> list[RowMapping]:
    """Rows of the view `failures`, by path."""
    view = table("failures", *(column(name) for name in ("path", "kind", "message", "attempts", "job", "created_at")))
    query = select(view).order_by(view.c.path).limit(limit)
    if job_id is not None:
        query = query.where(view.c.job == job_id)
    return list(connection.execute(query).mappings())


def enqueued_paths(connection: Connection, jobs_back: int = 20) -> list[str]:
    """The paths that the last captioning jobs were made of, as absolute as they were kept."""
    recent = select(job.c.parameters).where(job.c.kind == "caption").order_by(job.c.id.desc()).limit(jobs_back)
    paths = {path for row in connection.scalars(recent) for path in json.loads(row).get("paths", ())}
    return sorted(paths)
