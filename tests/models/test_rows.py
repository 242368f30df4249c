"""Many rows a statement, and turns at writing: the same on each database."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from sqlalchemy import select, text

from blipq.models import results
from blipq.models.database import Ledger
from blipq.models.rows import among, insert_rows, update_rows, upsert
from blipq.models.schema import file, image, remark

ODD = ["a", "", 'a "quoted" {brace}, comma', "back\\slash", "NULL", "null", "ü 🐕\nnewline", "it's"]


def test_rows_arrive_as_they_were_given(ledger: Ledger) -> None:
    # Given hashes of all byte values and texts that an array's syntax could trip over
    hashes = [bytes(range(n, n + 32)) for n in range(0, 224, 28)]
    rows = [
        {"sha256": sha256, "width": 1 << 30, "height": 1, "format": odd}
        for sha256, odd in zip(hashes, ODD, strict=True)
    ]
    with ledger.write() as connection:
        insert = upsert(connection, image).on_conflict_do_nothing(index_elements=["sha256"])
        insert_rows(connection, insert, rows)
        insert_rows(connection, insert, rows[:3])
        found = connection.execute(select(image.c.sha256, image.c.format, image.c.width)).all()
        some = connection.scalars(select(image.c.format).where(among(connection, image.c.sha256, hashes[2:4])))
        none = connection.scalars(select(image.c.format).where(among(connection, image.c.sha256, [])))
        assert [(bytes(row.sha256), row.format, row.width) for row in found] == [
            (*pair, 1 << 30) for pair in zip(hashes, ODD, strict=True)
        ]
        assert sorted(some) == sorted(ODD[2:4])
        assert list(none) == []


def test_what_is_no_longer_as_it_was_is_not_updated(ledger: Ledger) -> None:
    with ledger.write() as connection:
        names = [{"path": f"/{n}", "size": 1 << 40, "mtime_ns": n, "image_id": None} for n in range(4)]
        insert_rows(connection, upsert(connection, file), names)
        insert_rows(connection, upsert(connection, image), [{"sha256": b"1", "width": 1, "height": 1, "format": "PNG"}])
        image_id = connection.scalar(select(image.c.id))
        ids = {row.mtime_ns: row.id for row in connection.execute(select(file.c.mtime_ns, file.c.id))}
        # Given the second file with another time, in no order
        links = [{"id": ids[n], "size": 1 << 40, "mtime_ns": n + (n == 1), "image_id": image_id} for n in (3, 1, 0)]
        update_rows(connection, file, ["id", "size", "mtime_ns"], links)
        linked = select(file.c.mtime_ns).where(file.c.image_id == image_id).order_by(file.c.id)
        assert list(connection.scalars(linked)) == [0, 3]


def test_postgresql_keeps_no_plan_from_when_a_table_was_empty(ledger: Ledger) -> None:
    with ledger.write() as connection:
        for _ in range(10):
            results.captioned_contents(connection, 1, [b"1", b"2"])
        if connection.dialect.name == "postgresql":
            assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


def test_threads_take_turns_at_writing_without_sleeping(migrated_file: Path, tmp_path: Path) -> None:
    shutil.copy(migrated_file, tmp_path / "blipq.db")
    ledger = Ledger(f"sqlite:///{tmp_path / 'blipq.db'}")
    # Given a thread that holds the lock for so long that SQLite's own waiting sleeps 0.1 s between two attempts
    late = []
    for _ in range(5):
        holds, released = threading.Event(), [0.0]

        def hold(holds: threading.Event = holds, released: list[float] = released) -> None:
            with ledger.write() as connection:
                connection.execute(remark.delete())
                holds.set()
                time.sleep(0.35)
                released[0] = time.monotonic()

        thread = threading.Thread(target=hold)
        thread.start()
        holds.wait()
        with ledger.write():
            late.append(time.monotonic() - released[0])
        thread.join()
    ledger.close()
    # Then another writes as soon as it may: 1 ms, where attempts would be 78 ms late each time
    assert min(late) < 0.03
