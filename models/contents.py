"""Which files hold which contents, told by somebody who looked."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, func, select

from blipq.models.intake import Found, note_raw
from blipq.models.results import Content, images
from blipq.models.rows import among, insert_rows, update_rows, upsert
from blipq.models.schema import file, image


def known(connection: Connection, found: Sequence[Found]) -> dict[str, int]:
    """Image ids, by path, of those of some files (2,000 at most) that are as they were when they were last read."""
    rows = connection.execute(
        select(file.c.path, file.c.size, file.c.mtime_ns, file.c.image_id).where(
            file.c.path.in_([one.path for one in found]), file.c.image_id.is_not(None)
        )
    )
    as_it_was = {row.path: row for row in rows}
    return {
        one.path: as_it_was[one.path].image_id
        for one in found
        if one.path in as_it_was
        and (as_it_was[one.path].size, as_it_was[one.path].mtime_ns) == (one.size, one.mtime_ns)
    }


def last_known(connection: Connection, paths: Sequence[str]) -> dict[str, int]:
    """Image ids, by path, of what files (2,000 at most) held last, wherever they are now."""
    rows = connection.execute(
        select(file.c.path, file.c.image_id).where(file.c.path.in_(paths), file.c.image_id.is_not(None))
    )
    return {row.path: row.image_id for row in rows}


def by_hash(connection: Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Image ids, by SHA-256, of those of some contents (2,000 at most) that are known."""
    rows = connection.execute(select(image.c.sha256, image.c.id).where(image.c.sha256.in_(hashes)))
    return {bytes(row.sha256): row.id for row in rows}


def copies(connection: Connection, image_ids: Iterable[int]) -> dict[int, list[bytes]]:
    """The files of those of some images (2,000 at most) that several files hold, as the operating system knows them."""
    several = select(file.c.image_id).where(file.c.image_id.in_(list(image_ids)), file.c.path.not_like("upload:%"))
    several = several.group_by(file.c.image_id).having(func.count() > 1)
    rows = connection.execute(
        select(file.c.image_id, file.c.path, file.c.path_raw)
        .where(file.c.image_id.in_(several), file.c.path.not_like("upload:%"))
        .order_by(file.c.id)
    )
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in rows:
        found[row.image_id].append(row.path_raw if row.path_raw is not None else os.fsencode(row.path))
    return found


def record(connection: Connection, contents: Sequence[tuple[Found, Content]]) -> dict[str, int]:
    """Note what files (2,000 at most) hold; image ids by path."""
    if not contents:
        return {}
    ids = images(connection, [content for _, content in contents])
    by_path = {one.path: (one, ids[content.sha256]) for one, content in contents}
    rows = [
        {"path": path, "size": one.size, "mtime_ns": one.mtime_ns, "image_id": image_id}
        for path, (one, image_id) in sorted(by_path.items())
    ]
    # New ones by their paths, then all by their ids: see `models.locks`.
    insert_rows(connection, upsert(connection, file).on_conflict_do_nothing(index_elements=["path"]), rows)
    found = select(file.c.path, file.c.id).where(among(connection, file.c.path, list(by_path)))
    id_of = {row.path: row.id for row in connection.execute(found)}
    changed = [
        {"id": id_of[row["path"]], "size": row["size"], "mtime_ns": row["mtime_ns"], "image_id": row["image_id"]}
        for row in rows
        if row["path"] in id_of  # else it was forgotten just now
    ]
    if changed:
        update_rows(connection, file, ["id"], changed)
    note_raw(connection, [one for one, _ in by_path.values()])
    return {path: image_id for path, (_, image_id) in by_path.items()}
