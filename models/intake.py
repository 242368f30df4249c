"""Taking pictures in: from paths that were found to rows that a worker can claim."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from blipq.models.lease import SCAN_SECONDS, UNIT_ITEMS, settle
from blipq.models.rows import insert_rows
from blipq.models.schema import db_now, file, item, job, unit

CHUNK = 2000  # rows a transaction: under 100 ms, so that no worker waits longer for the database
SMALLEST_UNIT = 8


class JobCancelled(Exception):
    """The job that is being filled is over: somebody cancelled it, or it was taken for abandoned; one line."""


@dataclass(frozen=True)
class Found:
    """A picture file as the scan saw it. `raw` only where the name is no UTF-8."""

    path: str
    size: int
    mtime_ns: int
    raw: bytes | None = None


@dataclass(frozen=True)
class Taken:
    """What came of a chunk of paths."""

    found: int
    queued: int
    units: tuple[int, ...]


def open_job(
    connection: Connection,
    *,
    kind: str,
    source: str,
    model: str,
    recipe_id: int | None,
    parameters: dict[str, Any],
    priority: int,
    total: int = 0,
    deadline_in: float | None = None,
) -> int:
    """A new job that takes its turn behind nobody: it has been served as little as the least served of its equals.

    `deadline_in`: seconds after which the job is cancelled, for callers that do not wait longer.
    """
    least = select(func.coalesce(func.min(job.c.served), 0)).where(
        job.c.kind == kind, job.c.priority == priority, job.c.state.in_(("scanning", "queued", "running"))
    )
    values = {"kind": kind, "state": "scanning", "source": source, "model": model, "recipe_id": recipe_id}
    made = connection.execute(
        insert(job)
        .values(
            **values,
            parameters=json.dumps(parameters),
            priority=priority,
            total=total,
            served=connection.scalar(least),
            scanned_at=db_now(),
            deadline=None if deadline_in is None else db_now() + deadline_in,
        )
        .returning(job.c.id)
    )
    return int(made.scalar_one())


def take_in(
    connection: Connection, job_id: int, recipe_id: int | None, found: Sequence[Found], *, again: bool, so_far: int
) -> Taken:
    """Record files, and queue those that have no caption under the recipe (all of them with `again`).

    `so_far` is the number of pictures that the job has queued before: units grow with it from 8 to 64, so that a small
    job still spreads over several workers and a large one has few rows. Raises JobCancelled.
    """
    found = list({one.path: one for one in found}.values())  # named twice, it is one photo
    _record_files(connection, found)
    wanted = _wanted(connection, recipe_id, found, again=again)
    units = _cut(connection, job_id, wanted, so_far)
    counted = connection.execute(
        update(job)
        .where(job.c.id == job_id, job.c.state == "scanning")
        .values(total=job.c.total + len(found), skipped=job.c.skipped + len(found) - len(wanted), scanned_at=db_now())
    )
    if not counted.rowcount:
        raise JobCancelled(_why_over(connection, job_id))
    return Taken(len(found), len(wanted), tuple(units))


def captioned(connection: Connection, recipe_id: int | None, found: Sequence[Found]) -> int:
    """How many of some files have their caption under the recipe and are unchanged since."""
    if recipe_id is None:
        return 0
    statement = text(
        f"""SELECT count(*) FROM file JOIN ({_rows(connection, "path", "size", "mtime_ns")}) AS found
               ON found.path = file.path AND found.size = file.size AND found.mtime_ns = file.mtime_ns
             WHERE EXISTS (SELECT 1 FROM caption
                            WHERE caption.image_id = file.image_id AND caption.recipe_id = :recipe)"""
    )
    rows = json.dumps([[f.path, f.size, f.mtime_ns] for f in found])
    return int(connection.execute(statement, {"rows": rows, "recipe": recipe_id}).scalar_one())


def close_job(connection: Connection, job_id: int) -> None:
    """All that the job consists of is there: from now on it can end."""
    connection.execute(update(job).where(job.c.id == job_id, job.c.state == "scanning").values(state="queued"))
    settle(connection, job_id)


def _why_over(connection: Connection, job_id: int) -> str:
    state = connection.scalar(select(job.c.state).where(job.c.id == job_id))
    if state in (None, "cancelled"):
        return f"job {job_id} was cancelled while its folder was read"
    return (
        f"job {job_id} was closed, as nothing was heard of its folder for {SCAN_SECONDS / 60:g} minutes: "
        "enqueue it again, and what is missing joins"
    )


def _cut(connection: Connection, job_id: int, wanted: Sequence[int], so_far: int) -> list[int]:
    """Queue files in units → their ids."""
    parts: list[Sequence[int]] = []
    start = 0
    while start < len(wanted):
        size = min(UNIT_ITEMS, max(SMALLEST_UNIT, (so_far + start) // UNIT_ITEMS))
        parts.append(wanted[start : start + size])
        start += size
    if not parts:
        return []
    made = insert(unit).values(job_id=job_id, queue="caption", state="queued")
    made = made.returning(unit.c.id, sort_by_parameter_order=True)
    units = list(connection.scalars(made, [{"pictures": len(part)} for part in parts]))
    items = [
        {"job_id": job_id, "unit_id": unit_id, "file_id": file_id}
        for unit_id, part in zip(units, parts, strict=True)
        for file_id in part
    ]
    insert_rows(connection, insert(item), items)
    return units


def note_raw(connection: Connection, found: Sequence[Found]) -> None:
    """Keep the raw names of files whose names are no UTF-8; once, so that a known one is not locked again."""
    for odd in sorted((f for f in found if f.raw is not None), key=lambda f: f.path):
        new = (file.c.path == odd.path) & file.c.path_raw.is_(None)
        connection.execute(update(file).where(new).values(path_raw=odd.raw))


def _record_files(connection: Connection, found: Sequence[Found]) -> None:
    """One row a path for ever; a file that changed loses the link to the content it no longer has."""
    by_path = sorted(found, key=lambda f: f.path)
    rows = {"rows": json.dumps([[f.path, f.size, f.mtime_ns] for f in by_path])}
    source = _rows(connection, "path", "size", "mtime_ns")
    # New ones by their paths, then all by their ids: see `models.locks`.
    insert_new = text(f"INSERT INTO file (path, size, mtime_ns) {source} WHERE true ON CONFLICT (path) DO NOTHING")
    keep = text(
        f"SELECT file.id FROM file JOIN ({source}) AS found ON found.path = file.path"
        f" ORDER BY file.id {_locked(connection, 'KEY SHARE')}"
    )
    connection.execute(insert_new, rows)
    # Again where one was forgotten between the two; on SQLite nobody else writes meanwhile.
    while connection.dialect.name != "sqlite" and len(connection.execute(keep, rows).all()) < len(found):
        connection.execute(insert_new, rows)
    connection.execute(
        text(
            f"""UPDATE file SET size = changed.size, mtime_ns = changed.mtime_ns, image_id = NULL
            FROM (SELECT file.id, found.size, found.mtime_ns
                    FROM file JOIN ({source}) AS found ON found.path = file.path
                   WHERE file.size <> found.size OR file.mtime_ns <> found.mtime_ns
                   ORDER BY file.id {_locked(connection, "NO KEY UPDATE")}) AS changed
            WHERE file.id = changed.id"""
        ),
        rows,
    )
    note_raw(connection, found)


def _locked(connection: Connection, strength: str) -> str:
    return "" if connection.dialect.name == "sqlite" else f"FOR {strength} OF file"


def _wanted(connection: Connection, recipe_id: int | None, found: Sequence[Found], *, again: bool) -> list[int]:
    captioned = (
        "AND NOT EXISTS (SELECT 1 FROM caption WHERE caption.image_id = file.image_id AND caption.recipe_id = :recipe)"
    )
    statement = text(
        f"""SELECT file.id FROM file JOIN ({_rows(connection, "path")}) AS found ON found.path = file.path
        WHERE true {"" if again or recipe_id is None else captioned} ORDER BY file.id"""
    )
    if not (again or recipe_id is None):
        statement = statement.bindparams(bindparam("recipe", recipe_id))
    return list(connection.scalars(statement, {"rows": json.dumps([[f.path] for f in found])}))


def _rows(connection: Connection, *names: str) -> str:
    """A SELECT over the JSON array of arrays in `:rows`: one parameter and one statement for 2,000 rows (3 µs each)."""
    types = {"path": "text", "size": "bigint", "mtime_ns": "bigint"}
    if connection.dialect.name == "sqlite":
        columns = ", ".join(f"value ->> {at} AS {name}" for at, name in enumerate(names))
        return f"SELECT {columns} FROM json_each(:rows)"
    columns = ", ".join(f"CAST(value ->> {at} AS {types[name]}) AS {name}" for at, name in enumerate(names))
    return f"SELECT {columns} FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS t(value)"
