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
    """Ids of contents by their hash, made where they are new; kept from being forgotten until the transaction ends.

    New ones are made in the order of their hashes, and all locked in that of their ids, so that nobody deadlocks.
    """
    insert = upsert(connection, image).on_conflict_do_nothing(index_elements=["sha256"])
    rows = {c.sha256: {"sha256": c.sha256, "width": c.width, "height": c.height, "format": c.format} for c in contents}
    ids: dict[bytes, int] = {}
    while missing := sorted(rows.keys() - ids.keys()):  # again where one was forgotten between the two
        insert_rows(connection, insert, [rows[key] for key in missing])
        known = select(image.c.sha256, image.c.id).where(among(connection, image.c.sha256, missing))
        known = known.order_by(image.c.id).with_for_update(read=True, key_share=True)
        ids |= {bytes(sha256): image_id for sha256, image_id in connection.execute(known)}
    return ids


def store(
    connection: Connection, outcomes: Sequence[Captioned | Failed], origin: Origin, lease_seconds: float
) -> set[int]:
    """Write a batch under the fences of its units; the unit ids that are still held. What was lost is not written.

    A unit is given back where a caption that one of its pictures was to share has been forgotten meanwhile. May be
    called again with the same outcomes, where a lost connection left open whether they were committed.
    """
    held = leases.renew(connection, {outcome.work.lease for outcome in outcomes}, lease_seconds)
    ours = [outcome for outcome in outcomes if outcome.work.lease.unit_id in held]
    captioned = [outcome for outcome in ours if isinstance(outcome, Captioned)]
    failed = [outcome for outcome in ours if isinstance(outcome, Failed)]
    if captioned:
        _store_captions(connection, captioned, origin)
    bare = _without_caption(connection, captioned, origin.recipe_id)
    captioned = [outcome for outcome in captioned if outcome not in bare]
    done = _end_items(connection, captioned, "done")
    ended = _end_items(connection, failed, "failed")
    for bad in failed:
        if bad.work.item_id in ended:
            _store_failure(connection, bad, attempts=ended[bad.work.item_id])
    done_by = Counter(o.work.lease.unit_id for o in captioned if o.work.item_id in done)
    failed_by = Counter(o.work.lease.unit_id for o in failed if o.work.item_id in ended)
    leases.count(connection, {unit_id: (done_by[unit_id], failed_by[unit_id]) for unit_id in done_by | failed_by})
    again = {outcome.work.lease for outcome in bare}
    leases.hand_back(connection, again)
    return held - {one.unit_id for one in again}


def _without_caption(connection: Connection, captioned: Sequence[Captioned], recipe_id: int) -> list[Captioned]:
    """Pictures that have no caption after all: what they were to share has been forgotten. They are not called done.

    Captions that are there stay until the transaction ends.
    """
    found = (
        select(image.c.id, image.c.sha256)
        .join(caption, caption.c.image_id == image.c.id)
        .where(caption.c.recipe_id == recipe_id)
        .order_by(image.c.id)
        .with_for_update(of=caption, read=True, key_share=True)
    )
    by_hash = [c.content.sha256 for c in captioned if c.content is not None]
    by_id = [c.work.image_id for c in captioned if c.content is None and c.work.image_id is not None]
    there: set[bytes | int] = set()
    for column, values in ((image.c.sha256, by_hash), (image.c.id, by_id)):
        if values:
            for image_id, sha256 in connection.execute(found.where(among(connection, column, values))):
                there |= {image_id, bytes(sha256)}
    return [c for c in captioned if (c.work.image_id if c.content is None else c.content.sha256) not in there]


def _store_captions(connection: Connection, captioned: Sequence[Captioned], origin: Origin) -> None:
    ids = images(connection, {c.content for c in captioned if c.content is not None})
    links = [
        # Only while the file's row still says what it said at the claim: it may have changed since.
        {"id": c.work.file_id, "size": c.work.size, "mtime_ns": c.work.mtime_ns, "image_id": ids[c.content.sha256]}
        for c in captioned
        if c.content is not None
    ]
    if links:
        update_rows(connection, file, ["id", "size", "mtime_ns"], links)
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
        if c.text is not None
        and (image_id := c.work.image_id if c.content is None else ids[c.content.sha256]) is not None
    }
    if not rows:
        return
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
