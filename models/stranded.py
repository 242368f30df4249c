"""Runs whose files lie on another host: how long they wait for it before somebody goes on without."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, select, update

from blipq.models.fleet import ALIVE_SECONDS
from blipq.models.schema import db_now, job, run, unit, worker
from blipq.models.training import Run

# A host that reboots or is updated is back within minutes; what was trained since the older checkpoint takes longer.
WAIT_SECONDS = 600.0


@dataclass(frozen=True)
class Wait:
    """How long a run still waits, and what is said of it."""

    over: bool
    note: str
    is_new: bool  # the ledger does not know it yet


def wait(connection: Connection, owner: Run, host: str | None, here: str) -> Wait:
    """Whether a run that cannot go on here waits for a host (None: some other one) or has waited long enough.

    No time passes while a training worker of that host lives: it will see for itself. `here` is this host's name.
    """
    query = select(run.c.stranded_at, job.c.note, db_now()).join(job, job.c.id == run.c.job_id)
    since, note, now = connection.execute(query.where(run.c.id == owner.id)).one()
    if host is not None and host != here and _tends(connection, host):
        text = f"waits for host {host}, which has its files and is at work"
        return Wait(False, text, note != text)
    until = (now if since is None else since) + WAIT_SECONDS
    whose = f"for host {host}, which has its files" if host else "for a host that sees its files"
    clock = datetime.fromtimestamp(until).strftime("%H:%M")
    return Wait(now >= until, f"waits until {clock} {whose}", since is None)


def strand(connection: Connection, owner: Run, told: Wait) -> None:
    """Note a wait, unless somebody has taken the run up meanwhile. Its host may claim it at any moment."""
    waiting = exists().where(unit.c.id == owner.unit_id, unit.c.state == "queued")
    if told.note.startswith("waits until"):
        since = func.coalesce(run.c.stranded_at, db_now())
        connection.execute(update(run).where(run.c.id == owner.id, waiting).values(stranded_at=since))
    connection.execute(update(job).where(job.c.id == owner.job_id, waiting).values(note=told.note))


def _tends(connection: Connection, host: str) -> bool:
    """Whether a training worker of a host lives."""
    alive = (worker.c.state != "stopped") & (worker.c.seen_at > db_now() - ALIVE_SECONDS)
    return bool(connection.scalar(select(exists().where(worker.c.queue == "train", worker.c.host == host, alive))))
