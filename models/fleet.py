"""Workers as the ledger sees them, and what they learned about batch sizes."""

from __future__ import annotations

import os
import platform
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

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


def of_process(connection: Connection, host: str, pid: int) -> list[int]:
    """The workers that a process of a host registered and did not end by itself."""
    return list(
        connection.scalars(
            select(worker.c.id).where(worker.c.host == host, worker.c.pid == pid, worker.c.state != "stopped")
        )
    )


def learned(
    connection: Connection, *, weights: str, device: str, num_beams: int, precision: str
) -> tuple[Learned | None, float]:
    """The remembered batch size, and the seconds since it was last changed."""
    row = connection.execute(
        select(batch_size.c.size, batch_size.c.rate, db_now() - batch_size.c.tried_at).where(
            batch_size.c.weights == weights,
            batch_size.c.device == device,
            batch_size.c.num_beams == num_beams,
            batch_size.c.precision == precision,
        )
    ).first()
    return (None, 0.0) if row is None else (Learned(row[0], row[1]), float(row[2]))


def learn(
    connection: Connection, *, weights: str, device: str, num_beams: int, precision: str, size: int, rate: float | None
) -> None:
    """Remember a batch size and its rate."""
    insert_size = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(batch_size)
    key = {"weights": weights, "device": device, "num_beams": num_beams, "precision": precision}
    values = {"size": size, "rate": rate, "tried_at": db_now()}
    connection.execute(insert_size.values(**key, **values).on_conflict_do_update(index_elements=list(key), set_=values))
