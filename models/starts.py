"""Starts of workers that failed: a row of `worker` in the state `failed` for each of the last three, with its reason.

They belong to a host, queue and device, and go when a worker of these gets as far as working, or its supervisor begins
anew. Nothing refers to them.
"""

from __future__ import annotations

import os
import platform
import socket
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from blipq.models.fleet import ALIVE_SECONDS
from blipq.models.schema import db_now, worker

KEPT = 3  # as many in a row are no accident
FAILED = "failed"
HEARD_SECONDS = 10 * ALIVE_SECONDS  # after which a failed start says nothing of today
AGAIN_SECONDS = 40.0  # within which a supervisor has started the next one


@dataclass(frozen=True)
class Trouble:
    """A queue none of whose workers can begin."""

    queue: str
    host: str
    reason: str
    newest: int  # id of the row of its last failed start
    starts: int  # that failed in a row, up to `KEPT`
    seen: float  # seconds since the last

    @property
    def repeated(self) -> bool:
        """Whether the next start would most likely fail too."""
        return self.starts >= KEPT and self.seen < AGAIN_SECONDS

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"the {self.queue} worker{where} cannot begin: {self.reason}"


def failed(
    connection: Connection,
    *,
    queue: str,
    device: str,
    reason: str,
    pid: int | None = None,
    worker_id: int | None = None,
) -> None:
    """Note a start on this host that failed; of older ones only the last two are kept.

    `worker_id`: the row that the process has already, where it got so far; it must not have claimed anything.
    """
    host, pid = socket.gethostname(), pid or os.getpid()
    values: dict[str, object] = {
        "host": host,
        "queue": queue,
        "device": device,
        "pid": pid,
        "name": f"{queue}@{host}:{pid}",
    }
    values |= {"versions": f"Python {platform.python_version()}", "state": FAILED, "note": reason}
    if worker_id is None:
        connection.execute(insert(worker).values(values))
    else:
        own = update(worker).where(worker.c.id == worker_id)
        connection.execute(own.values(values | {"model": None, "seen_at": db_now()}))
    kept = select(worker.c.id).where(_of(queue, device)).order_by(worker.c.id.desc()).limit(KEPT)
    connection.execute(delete(worker).where(_of(queue, device), worker.c.id.not_in(list(connection.scalars(kept)))))


def begun(connection: Connection, queue: str, device: str | None = None) -> None:
    """A worker of this host works, or (without a device) its supervisor begins anew: older failures say nothing."""
    connection.execute(delete(worker).where(_of(queue, device)))


def troubles(connection: Connection) -> list[Trouble]:
    """Queues none of whose workers can begin, by their names. A worker elsewhere that lives is no trouble."""
    rows = connection.execute(
        select(
            worker.c.id,
            worker.c.queue,
            worker.c.host,
            worker.c.device,
            worker.c.state,
            worker.c.model,
            worker.c.note,
            (db_now() - worker.c.seen_at).label("seen"),
        )
        .where(worker.c.state != "stopped", worker.c.seen_at > db_now() - HEARD_SECONDS)
        .order_by(worker.c.id)
    ).all()
    failures: dict[tuple[str, str, str | None], list[Row[tuple[object, ...]]]] = defaultdict(list)
    for row in rows:
        if row.state == FAILED:
            failures[row.queue, row.host, row.device].append(row)
    # A process that was just started where others failed lives, and may be about to fail: with a model it works.
    living = {
        row.queue
        for row in rows
        if row.state != FAILED
        and row.seen < ALIVE_SECONDS
        and (row.model or (row.queue, row.host, row.device) not in failures)
    }
    worst: dict[str, Trouble] = {}
    for (queue, host, _), found in failures.items():
        trouble = Trouble(queue, host, found[-1].note or "", found[-1].id, len(found), found[-1].seen)
        if queue not in living and (queue not in worst or trouble.starts >= worst[queue].starts):
            worst[queue] = trouble
    return [worst[queue] for queue in sorted(worst)]


def trouble(connection: Connection, queue: str) -> Trouble | None:
    """What keeps the workers of a queue from beginning."""
    return next((found for found in troubles(connection) if found.queue == queue), None)


def _of(queue: str, device: str | None) -> ColumnElement[bool]:
    mine = and_(worker.c.state == FAILED, worker.c.host == socket.gethostname(), worker.c.queue == queue)
    return mine if device is None else and_(mine, worker.c.device == device)
