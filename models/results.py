"""What a worker writes: captions and failures, under the fences of their units, one transaction a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, select, update

from blipq.models import lease as leases
from blipq.models.lease import Lease
from blipq.models.rows import among, insert_rows, update_rows, upsert
from blipq.models.schema import caption, failure, file, image, item


@dataclass(frozen=True)
class Work:
    """One picture that a unit has to do, as its rows stood when it was claimed."""

    lease: Lease
    item_id: int
    file_id: int
    path: str
    raw: bytes | None
    size: int
    mtime_ns: int
    image_id: int | None
    captioned: bool  # under the job's recipe, by somebody else since it was queued
    twin: bool  # a known file has this size: hashing may spare the decoding


@dataclass(frozen=True)
class Content:
    """What a file was found to hold."""

    sha256: bytes
    width: int
    height: int
    format: str


@dataclass(frozen=True)
class Captioned:
    """A picture with its new caption; or, without text, one whose content has a caption already."""

    work: Work
    content: Content | None  # None where the file's row leads to it already
    text: str | None
    score: float | None = None
    flag: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Failed:
    """A picture that cannot be captioned, and why."""

    work: Work
    kind: str
    message: str


@dataclass(frozen=True)
class Origin:
    """How captions came about."""

    recipe_id: int
    worker_id: int
    replace: bool  # a caption under the same recipe is written over


def read_work(connection: Connection, held: Sequence[Lease], recipe_id: int, *, again: bool) -> list[Work]:
    """The pictures that claimed units still have to do, in order. With `again` none counts as captioned."""
    by_unit = {lease.unit_id: lease for lease in held}
    has_caption = (
        select(caption.c.id).where(caption.c.image_id == file.c.image_id, caption.c.recipe_id == recipe_id).exists()
    )
    other = file.alias()
    twin = (
        select(other.c.id)
        .where(other.c.size == file.c.size, other.c.id != file.c.id, other.c.image_id.is_not(None))
        .exists()
    )
    rows = connection.execute(
        select(
            item.c.unit_id,
            item.c.id.label("item_id"),
            file.c.id.label("file_id"),
            file.c.path,
            file.c.path_raw,
            file.c.size,
            file.c.mtime_ns,
            file.c.image_id,
            has_caption.label("captioned"),
            case((file.c.image_id.is_(None), twin), else_=False).label("twin"),
        )
        .join(file, file.c.id == item.c.file_id)
        .where(item.c.unit_id.in_(list(by_unit)), item.c.state == "queued")
        .order_by(item.c.id)
    )
    return [
        Work(
            by_unit[row.unit_id],
            row.item_id,
            row.file_id,
            row.path,
            row.path_raw,
            row.size,
            row.mtime_ns,
            row.image_id,
            captioned=not again and bool(row.captioned),
            twin=not again and bool(row.twin),
        )
        for row in rows
    ]


def captioned_contents(connection: Connection, recipe_id: int, hashes: Collection[bytes]) -> set[bytes]:
    """Those of some contents that have a caption under a recipe."""
    if not hashes:
        return set()
    # Two statements by two unique indexes. Of one with a join, a planner that has no statistics yet reads every caption
    # of the recipe: on PostgreSQL 60 % of a worker's time at 2,000 pictures a second.
    found = connection.execute(select(image.c.id, image.c.sha256).where(among(connection, image.c.sha256, hashes)))
    sha256_of = {image_id: bytes(sha256) for image_id, sha256 in found}
    if not sha256_of:
        return set()
    captioned = select(caption.c.image_id).where(
        among(connection, caption.c.image_id, sha256_of), caption.c.recipe_id == recipe_id
    )
    return {sha256_of[image_id] for image_id in connection.scalars(captioned)}


def images(connection: Connection, contents: Collection[Content]) -> dict[bytes, int]:
    """Ids of contents by their hash, made where they are new; in the order of the hashes, so that nobody deadlocks."""
    if not contents:
        return {}
    insert = upsert(connection, image).on_conflict_do_nothing(index_elements=["sha256"])
    rows = {c.sha256: {"sha256": c.sha256, "width": c.width, "height": c.height, "format": c.format} for c in contents}
    insert_rows(connection, insert, [rows[key] for key in sorted(rows)])
    found = connection.execute(select(image.c.sha256, image.c.id).where(among(connection, image.c.sha256, rows)))
    return {bytes(sha256): image_id for sha256, image_id in found}


def store(
    connection: Connection, outcomes: Sequence[Captioned | Failed], origin: Origin, lease_seconds: float
) -> set[int]:
    """Write a batch under the fences of its units; the unit ids that are still held. What was lost is not written.

    A unit with a picture whose caption was there when it was looked for, and was forgotten since, is given back.
    May be called again with the same outcomes, where a lost connection left open whether they were committed.
    """
    held = leases.renew(connection, {outcome.work.lease for outcome in outcomes}, lease_seconds)
    ours = [outcome for outcome in outcomes if outcome.work.lease.unit_id in held]
    captioned = [outcome for outcome in ours if isinstance(outcome, Captioned)]
    failed = [outcome for outcome in ours if isinstance(outcome, Failed)]
    bare = _store_captions(connection, captioned, origin) if captioned else []
    captioned = [outcome for outcome in captioned if outcome not in bare]
    done = _end_items(connection, captioned, "done")
    ended = _end_items(connection, failed, "failed")
    for bad in failed:
        if bad.work.item_id in ended:
            _store_failure(connection, bad, attempts=ended[bad.work.item_id])
    done_by = Counter(o.work.lease.unit_id for o in captioned if o.work.item_id in done)
    failed_by = Counter(o.work.lease.unit_id for o in failed if o.work.item_id in ended)
    leases.count(connection, {unit_id: (done_by[unit_id], failed_by[unit_id]) for unit_id in done_by | failed_by})
    leases.hand_back(connection, {outcome.work.lease for outcome in bare})
    return held - {outcome.work.lease.unit_id for outcome in bare}


def _store_captions(connection: Connection, captioned: Sequence[Captioned], origin: Origin) -> list[Captioned]:
    """Returns those that come without a caption and have none in the ledger: somebody forgot it."""
    ids = images(connection, {c.content for c in captioned if c.content is not None})
    links = [
        # Only while the file's row still says what it said at the claim: it may have changed since.
        {"id": c.work.file_id, "size": c.work.size, "mtime_ns": c.work.mtime_ns, "image_id": ids[c.content.sha256]}
        for c in captioned
        if c.content is not None
    ]
    if links:
        update_rows(connection, file, ["id", "size", "mtime_ns"], links)
    image_of = {c.work.item_id: c.work.image_id if c.content is None else ids[c.content.sha256] for c in captioned}
    rows = {
        image_id: {
            "image_id": image_id,
            "recipe_id": origin.recipe_id,
            "text": c.text,
            "score": c.score,
            "flag": c.flag,
            "worker_id": origin.worker_id,
            "precision": c.precision,
        }
        for c in captioned
        if c.text is not None and (image_id := image_of[c.work.item_id]) is not None
    }
    # Locked, so that whoever forgets a job that asked for them sees that these pictures lead to them now.
    there = select(caption.c.image_id).where(
        among(connection, caption.c.image_id, {one for one in image_of.values() if one is not None}),
        caption.c.recipe_id == origin.recipe_id,
    )
    known = set(connection.scalars(there.order_by(caption.c.id).with_for_update(read=True, key_share=True)))
    bare = [c for c in captioned if c.text is None and image_of[c.work.item_id] not in known | rows.keys()]
    if not rows:
        return bare
    insert = upsert(connection, caption)
    unique = ["image_id", "recipe_id"]
    if origin.replace:
        names = ("text", "score", "flag", "worker_id", "precision", "created_at")
        statement = insert.on_conflict_do_update(
            index_elements=unique, set_={name: insert.excluded[name] for name in names}
        )
    else:
        statement = insert.on_conflict_do_nothing(index_elements=unique)
    insert_rows(connection, statement, [rows[image_id] for image_id in sorted(rows)])
    return bare


def _store_failure(connection: Connection, bad: Failed, attempts: int) -> None:
    job_id, file_id = bad.work.lease.job_id, bad.work.file_id
    connection.execute(failure.delete().where(failure.c.job_id == job_id, failure.c.file_id == file_id))
    connection.execute(
        failure.insert().values(job_id=job_id, file_id=file_id, kind=bad.kind, message=bad.message, attempts=attempts)
    )


def _end_items(connection: Connection, outcomes: Sequence[Captioned | Failed], state: str) -> dict[int, int]:
    """Put items into their last state; of those that were not in it yet, the id and the number of attempts."""
    if not outcomes:
        return {}
    rows = connection.execute(
        update(item)
        .where(among(connection, item.c.id, [outcome.work.item_id for outcome in outcomes]), item.c.state == "queued")
        .values(state=state, attempts=item.c.attempts + 1)
        .returning(item.c.id, item.c.attempts)
    )
    return {row.id: row.attempts for row in rows}
