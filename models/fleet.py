"""Workers as the ledger sees them, and what they learned about batch sizes."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from blipq.models.rows import upsert
from blipq.models.schema import batch_size, db_now, worker

ALIVE_SECONDS = 15  # a worker is heard of every 2 s; one that was not for so long is shown as lost


@dataclass(frozen=True)
class Learned:
    """What a model does on a device: pictures a batch, and pictures a second at that size."""

    size: int
    rate: float | None


def register(connection: Connection, *, queue: str, device: str | None, versions: str) -> int:
    """A row for this process. One an incarnation: captions refer to it for good."""
    host = socket.gethostname()
    made = connection.execute(
        insert(worker)
        .values(
            name=f"{queue}@{host}:{os.getpid()}",
            host=host,
            pid=os.getpid(),
            queue=queue,
            device=device,
            versions=f"Python {platform.python_version()}, {versions}",
            state="starting",
        )
        .returning(worker.c.id)
    )
    return int(made.scalar_one())


def seen(connection: Connection, worker_id: int, **changes: Any) -> None:
    """Note that a worker is alive, and what changed about it."""
    connection.execute(update(worker).where(worker.c.id == worker_id).values(seen_at=db_now(), **changes))


def died(connection: Connection, worker_id: int) -> None:
    """Note that a worker is dead, unless it said itself that it stopped, or why it could not begin."""
    gone = (worker.c.id == worker_id) & worker.c.state.not_in(("stopped", "failed"))
    connection.execute(update(worker).where(gone).values(seen_at=db_now(), state="stopped", note="died"))


@dataclass(frozen=True)
class Engine:
    """What a batch size depends on."""

    weights: str
    device: str
    num_beams: int
    precision: str


def learned(connection: Connection, engine: Engine) -> Learned | None:
    """The remembered batch size."""
    row = connection.execute(
        select(batch_size.c.size, batch_size.c.rate).where(
            *(batch_size.c[name] == value for name, value in asdict(engine).items())
        )
    ).first()
    return None if row is None else Learned(*tuple(row))


def learn(connection: Connection, engine: Engine, size: int, rate: float | None) -> None:
    """Remember a batch size and its rate."""
    key = asdict(engine)
    values = {"size": size, "rate": rate, "tried_at": db_now()}
    connection.execute(
        upsert(connection, batch_size)
        .values(**key, **values)
        .on_conflict_do_update(index_elements=list(key), set_=values)
    )
