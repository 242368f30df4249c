"""Which files hold which contents, told by somebody who looked."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from blipq.models.intake import Found
from blipq.models.results import Content
from blipq.models.rows import upsert
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


def record(connection: Connection, contents: Sequence[tuple[Found, Content]]) -> dict[str, int]:
    """Note what files (2,000 at most) hold; image ids by path."""
    by_hash = {content.sha256: content for _, content in contents}
    values = [vars(by_hash[sha256]) for sha256 in sorted(by_hash)]
    if not values:
        return {}
    connection.execute(upsert(connection, image).on_conflict_do_nothing(index_elements=["sha256"]), values)
    rows = connection.execute(select(image.c.sha256, image.c.id).where(image.c.sha256.in_(list(by_hash))))
    ids = {bytes(sha256): int(image_id) for sha256, image_id in rows}
    insert = upsert(connection, file)
    insert = insert.on_conflict_do_update(
        index_elements=["path"], set_={name: insert.excluded[name] for name in ("size", "mtime_ns", "image_id")}
    )
    by_path = {one.path: (one, ids[content.sha256]) for one, content in contents}
    connection.execute(
        insert,
        [
            {"path": path, "size": one.size, "mtime_ns": one.mtime_ns, "image_id": image_id}
            for path, (one, image_id) in sorted(by_path.items())
        ],
    )
    for path, (one, _) in by_path.items():
        if one.raw is not None:
            connection.execute(update(file).where(file.c.path == path).values(path_raw=one.raw))
    return {path: image_id for path, (_, image_id) in by_path.items()}
