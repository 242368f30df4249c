"""Taking rows out of the ledger: photos, jobs, and what nothing leads to any more. Files on disk are never touched.

Every function takes one chunk, so that no transaction holds the database longer than others can wait.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    delete,
    exists,
    false,
    func,
    or_,
    select,
    tuple_,
    update,
)

from blipq.models import training
from blipq.models.control import ENDED, NoSuchJob
from blipq.models.locks import lock_jobs
from blipq.models.schema import (
    alias,
    caption,
    checkpoint,
    db_now,
    edit,
    epoch,
    evaluation,
    failure,
    file,
    fingerprint,
    image,
    item,
    job,
    loss,
    remark,
    run,
    unit,
    upload,
    worker,
)
from blipq.models.skipped import asked_for

CHUNK = 2000


class StillWanted(Exception):
    """Something that is in use; one line: by what, and what to do."""


@dataclass(frozen=True)
class Forgotten:
    """How many rows are gone."""

    photos: int = 0
    captions: int = 0
    edits: int = 0
    failures: int = 0
    jobs: int = 0
    workers: int = 0
    contents: tuple[bytes, ...] = ()  # SHA-256 of contents that no file holds any more

    def __add__(self, more: Forgotten) -> Forgotten:
        return Forgotten(*(getattr(self, f.name) + getattr(more, f.name) for f in fields(self)))


class KnownFile(NamedTuple):
    """A file as it was last read. A tuple: a million of them go by."""

    id: int
    path: str
    raw: bytes | None  # the name, where it is no UTF-8
    size: int
    mtime_ns: int
    busy: bool  # an open job has it to do

    @property
    def file(self) -> bytes:
        """The path as the operating system knows it."""
        return self.raw if self.raw is not None else os.fsencode(self.path)


def files_under(connection: Connection, path: str, after: int) -> list[int]:
    """Ids of the file `path`, or of those below it where it is a folder: the next 2,000 behind one."""
    chosen = select(file.c.id).where(_named(path), file.c.id > after)
    rows = connection.scalars(chosen.order_by(file.c.id).limit(CHUNK))
    return list(rows)


def forget_files(connection: Connection, file_ids: Collection[int], *, keep_edited: bool = False) -> Forgotten:
    """Take out some files (2,000 at most) with all that is known of them alone.

    A content that no other file holds goes with its captions and edits; with `keep_edited` not where a person has
    edited it. Raises StillWanted where an open job has them to do.
    """
    mine = item.c.file_id.in_(file_ids)
    waiting = unit.c.id.in_(select(item.c.unit_id).where(mine, item.c.state == "queued"))
    held = select(file.c.image_id).where(file.c.id.in_(file_ids), file.c.image_id.is_not(None))
    # Who fills a job, or stores, has files in hand before the job: so have we (see `models.locks`).
    _lock(connection, unit, waiting)
    _lock(connection, image, image.c.id.in_(held))
    _lock(connection, file, file.c.id.in_(file_ids))
    lock_jobs(connection, job.c.id.in_(select(item.c.job_id).where(mine)), waiting)
    _refuse_open(connection, mine)
    images = set(connection.scalars(held))
    failures = _delete(connection, failure, failure.c.file_id.in_(file_ids))
    _take_out_items(connection, file_ids)
    _delete(connection, upload, upload.c.file_id.in_(file_ids))
    gone = Forgotten(photos=_delete(connection, file, file.c.id.in_(file_ids)), failures=failures)
    return gone + forget_images(connection, images, keep_edited=keep_edited)


def forget_images(connection: Connection, image_ids: Collection[int], *, keep_edited: bool) -> Forgotten:
    """Take out those of some contents (2,000 at most) that no file holds, with their captions and edits."""
    _lock(connection, image, image.c.id.in_(image_ids))  # so that no worker finds another file to hold one meanwhile
    held = exists().where(file.c.image_id == image.c.id)
    lost = select(image.c.id, image.c.sha256).where(image.c.id.in_(image_ids), ~held)
    if keep_edited:
        lost = lost.where(~exists().where(edit.c.image_id == image.c.id))
    rows = connection.execute(lost).all()
    ids = [row.id for row in rows]
    captions = _delete(connection, caption, caption.c.image_id.in_(ids))
    edits = _delete(connection, edit, edit.c.image_id.in_(ids))
    _delete(connection, image, image.c.id.in_(ids))
    return Forgotten(captions=captions, edits=edits, contents=tuple(bytes(row.sha256) for row in rows))


def check_job(connection: Connection, job_id: int) -> None:
    """Raise NoSuchJob, and StillWanted for a job that is not over or whose model has been promoted.

    Nobody retries the job, or promotes of its run, until the transaction ends.
    """
    mine = item.c.job_id == job_id
    next_items = select(item.c.unit_id).where(mine).order_by(item.c.id).limit(CHUNK).subquery()
    _lock(connection, run, run.c.job_id == job_id)
    last = ~exists().where(mine)  # then the job itself goes, with all of its units
    units = unit.c.id.in_(select(next_items.c.unit_id)) | last
    state = lock_jobs(connection, job.c.id == job_id, units).get(job_id)
    if state is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    if state not in ENDED:
        raise StillWanted(f"job {job_id} is {state}: blipq cancel {job_id}, then forget it")
    runs = select(run.c.id).where(run.c.job_id == job_id)
    for run_id in connection.scalars(runs):
        name = connection.scalar(select(alias.c.name).where(_is_run(alias.c.model, run_id)))
        if name is not None:
            raise StillWanted(f"run {run_id} of job {job_id} is promoted as {name}: promote another model to it first")
        user = connection.scalar(select(job.c.id).where(job.c.state.not_in(ENDED), _is_run(job.c.model, run_id)))
        if user is not None:
            raise StillWanted(f"job {user} needs run {run_id} and is not over: blipq cancel {user} first")


def forget_items(connection: Connection, job_id: int) -> Forgotten | None:
    """Take out 2,000 of a job's photos from it, with the captions of its recipe that no other job asked for.

    None where none is left. The photos themselves, and what people wrote, stay.
    """
    rows = connection.execute(
        select(item.c.id, item.c.file_id, item.c.unit_id)
        .where(item.c.job_id == job_id)
        .order_by(item.c.id)
        .limit(CHUNK)
    ).all()
    if not rows:
        return None
    files = [row.file_id for row in rows]
    recipe_id = connection.scalar(select(job.c.recipe_id).where(job.c.id == job_id))
    asked_elsewhere = (
        select(item.c.id)
        .join(file, file.c.id == item.c.file_id)
        .join(job, job.c.id == item.c.job_id)
        .where(file.c.image_id == caption.c.image_id, job.c.recipe_id == recipe_id, job.c.id != job_id)
        .exists()
    )
    contents = select(file.c.image_id).where(file.c.id.in_(files))
    mine = (caption.c.recipe_id == recipe_id) & caption.c.image_id.in_(contents) & ~asked_elsewhere
    if recipe_id is not None:
        images = set(connection.scalars(select(caption.c.image_id).where(mine)))
        skipped = asked_for(connection, images, recipe_id, besides=job_id)
        mine &= caption.c.image_id.not_in(skipped)
    # Locked before they are deleted: whoever stores pictures that lead to them just now is waited for, and then seen.
    connection.execute(select(caption.c.id).where(mine).order_by(caption.c.image_id).with_for_update()).all()
    captions = _delete(connection, caption, mine)
    failures = _delete(connection, failure, (failure.c.job_id == job_id) & failure.c.file_id.in_(files))
    _delete(connection, item, item.c.id.in_([row.id for row in rows]))
    _count_left(connection, {row.unit_id for row in rows})  # somebody may retry what is left before the next chunk
    return Forgotten(captions=captions, failures=failures)


def forget_losses(connection: Connection, job_id: int) -> bool:
    """Take out 2,000 steps of a training job's curve; False where none is left."""
    runs = select(run.c.id).where(run.c.job_id == job_id)
    steps = connection.execute(select(loss.c.run_id, loss.c.step).where(loss.c.run_id.in_(runs)).limit(CHUNK)).all()
    _delete(connection, loss, tuple_(loss.c.run_id, loss.c.step).in_([tuple(row) for row in steps]))
    return bool(steps)


def forget_job(connection: Connection, job_id: int) -> Forgotten:
    """Take out a job of which no item and no loss is left, with its run. Its files stay: see `training.folders`."""
    runs = list(connection.scalars(select(run.c.id).where(run.c.job_id == job_id)))
    for place in training.folders(connection, job_id):
        below = f"{place.folder}/"
        _delete(connection, fingerprint, func.substr(fingerprint.c.path, 1, len(below)) == below)
    for table in (epoch, remark, checkpoint, evaluation):
        _delete(connection, table, table.c.run_id.in_(runs))
    _delete(connection, run, run.c.id.in_(runs))
    failures = _delete(connection, failure, failure.c.job_id == job_id)
    _delete(connection, unit, unit.c.job_id == job_id)
    return Forgotten(jobs=_delete(connection, job, job.c.id == job_id), failures=failures)


def files_after(connection: Connection, after: int, below: str | None = None) -> list[KnownFile]:
    """The next 2,000 files on disk behind an id; `below` a folder, or that very file."""
    busy = (
        select(item.c.id)
        .join(job, job.c.id == item.c.job_id)
        .where(item.c.file_id == file.c.id, job.c.state.not_in(ENDED))
        .exists()
    )
    query = _known(busy).where(file.c.id > after, file.c.path.not_like("upload:%"))
    if below is not None:
        query = query.where(_named(below))
    return [KnownFile._make(row) for row in connection.execute(query.order_by(file.c.id).limit(CHUNK))]


def is_file(connection: Connection, path: str) -> bool:
    """Whether a path is known as a file's."""
    return connection.scalar(select(file.c.id).where(file.c.path == path)) is not None


def files_by_id(connection: Connection, ids: Collection[int]) -> list[KnownFile]:
    """Some files (2,000 at most), without asking for jobs."""
    return [KnownFile._make(row) for row in connection.execute(_known(false()).where(file.c.id.in_(ids)))]


def _known(busy: ColumnElement[bool]) -> Select[Any]:
    return select(file.c.id, file.c.path, file.c.path_raw, file.c.size, file.c.mtime_ns, busy)


def _named(path: str) -> ColumnElement[bool]:
    below = path.rstrip("/") + "/"
    return or_(file.c.path == path, func.substr(file.c.path, 1, len(below)) == below)


def orphans(connection: Connection, after: int) -> list[int]:
    """The next 2,000 contents that no file holds."""
    lost = select(image.c.id).where(image.c.id > after, ~exists().where(file.c.image_id == image.c.id))
    return list(connection.scalars(lost.order_by(image.c.id).limit(CHUNK)))


def old_uploads(connection: Connection, seconds: float) -> list[int]:
    """Up to 2,000 pictures that came by HTTP, whose jobs have been over for so long."""
    recent = (
        select(item.c.id)
        .join(job, job.c.id == item.c.job_id)
        .where(
            item.c.file_id == file.c.id,
            or_(job.c.state.not_in(ENDED), func.coalesce(job.c.ended_at, 0) > db_now() - seconds),
        )
        .exists()
    )
    young = exists().where(upload.c.file_id == file.c.id, upload.c.created_at > db_now() - seconds)
    rows = select(file.c.id).where(file.c.path.like("upload:%"), ~recent, ~young).order_by(file.c.id)
    return list(connection.scalars(rows.limit(CHUNK)))


def forget_workers(connection: Connection, seconds: float) -> Forgotten:
    """Take out workers that were not heard of for so long, and that no caption and no unit names."""
    old = select(worker.c.id).where(worker.c.seen_at < db_now() - seconds)
    named = select(caption.c.worker_id).where(caption.c.worker_id.is_not(None)).distinct()
    held = select(unit.c.worker_id).where(unit.c.worker_id.is_not(None)).distinct()
    ids = set(connection.scalars(old))
    ids -= set(connection.scalars(named)) | set(connection.scalars(held)) if ids else set()
    return Forgotten(workers=_delete(connection, worker, worker.c.id.in_(sorted(ids)[:CHUNK])))


def _is_run(model: ColumnElement[str], run_id: int) -> ColumnElement[bool]:
    """Whether a model is a run's: the best of it, or that of a step."""
    return model.like(f"run:{run_id}@%") | (model == f"run:{run_id}")


def _refuse_open(connection: Connection, which: ColumnElement[bool]) -> None:
    row = connection.execute(
        select(job.c.id, func.count(item.c.id))
        .join(item, item.c.job_id == job.c.id)
        .where(which, job.c.state.not_in(ENDED))
        .group_by(job.c.id)
        .limit(1)
    ).first()
    if row is not None:
        raise StillWanted(f"job {row[0]} is not over and has {row[1]:,} of these photos: blipq cancel {row[0]} first")


def _take_out_items(connection: Connection, file_ids: Collection[int]) -> None:
    """Items of jobs that are over; a unit that a retry could take up again counts those no more."""
    mine = item.c.file_id.in_(file_ids)
    units = set(connection.scalars(select(item.c.unit_id).where(mine, item.c.state == "queued")))
    _delete(connection, item, mine)
    _count_left(connection, units)


def _count_left(connection: Connection, units: Collection[int]) -> None:
    """Units of which items were taken out, and which nobody began: what is done of them and what is left."""
    if not units:
        return
    left = select(func.count()).where(item.c.unit_id == unit.c.id, item.c.state == "queued").scalar_subquery()
    open_units = (unit.c.id.in_(units)) & (unit.c.state == "queued")
    connection.execute(update(unit).where(open_units).values(pictures=unit.c.done + unit.c.failed + left))
    empty = open_units & (unit.c.pictures == unit.c.done + unit.c.failed)
    connection.execute(update(unit).where(empty).values(state="cancelled"))


def _lock(connection: Connection, table: Table, which: ColumnElement[bool]) -> None:
    """Lock rows by their ids, in order: see `models.locks`."""
    connection.execute(select(table.c.id).where(which).order_by(table.c.id).with_for_update()).all()


def _delete(connection: Connection, table: Table, which: ColumnElement[bool]) -> int:
    return connection.execute(delete(table).where(which)).rowcount
