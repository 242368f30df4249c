"""Pages of photos: by key, nothing twice, nothing left out; search and filters say what the views say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from blipq.models import edits, gallery, migrate, recipes
from blipq.models.database import Ledger, open_ledger
from blipq.models.gallery import Filter
from blipq.models.schema import caption, failure, file, image, item, job, unit
from blipq.settings import Settings

COUNT = 5000  # more than are looked at one by one


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """5,000 captioned photos: every 100th edited, every 50th flagged, 77 a zebra, 7 failed and waiting."""
    home = tmp_path_factory.mktemp("gallery")
    url = request.getfixturevalue("postgres_for_module") if request.param == "postgresql" else None
    ledger = open_ledger(Settings(home=home, database_url=url))
    migrate.upgrade(ledger)
    numbers = range(1, COUNT + 1)
    with ledger.write() as c:
        first = recipes.record(c, recipes.Recipe(weights="sha256:00"), "demo")
        second = recipes.record(c, recipes.Recipe(weights="sha256:01"), "other")
        values = {"kind": "caption", "source": "x", "model": "demo", "parameters": "{}", "priority": 0}
        c.execute(insert(job).values(id=1, state="done", recipe_id=first, **values))
        c.execute(insert(unit).values(id=1, job_id=1, queue="caption", state="done", pictures=COUNT))
        c.execute(insert(image), [_image(n) for n in numbers])
        c.execute(insert(file), [_file(n) for n in numbers])
        c.execute(insert(caption), [_caption(n, first) for n in numbers if n != 7])
        c.execute(insert(item), [_item(n) for n in numbers])
        c.execute(insert(failure).values(job_id=1, file_id=7, kind="corrupt", message="broken", attempts=1))
        edits.write_edits(c, {n: "a giraffe, says somebody" for n in numbers if n % 100 == 0}, "me", "batch")
        c.execute(insert(caption).values(image_id=11, recipe_id=second, text="a brown cat", score=-1.0))
        c.execute(insert(caption).values(image_id=12, recipe_id=second, text="dog number 12 of 100%", score=-1.0))
    yield ledger
    ledger.close()


@pytest.fixture(scope="module")
def postgres_for_module() -> Iterator[str]:
    """A database for this module; skipped with the reason where PostgreSQL does not answer."""
    import os
    import secrets

    import psycopg

    server = f"postgresql://{os.environ.get('PGUSER', 'postgres')}@{os.environ.get('PGHOST', '127.0.0.1')}"
    name = f"blipq_{secrets.token_hex(6)}"
    try:
        admin = psycopg.connect(f"{server}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        if os.environ.get("BLIPQ_TEST_SERVERS") == "required":
            raise
        pytest.skip(f"PostgreSQL does not answer: {error}")
    with admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield f"{server}/{name}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as again:
        again.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _image(n: int) -> dict[str, Any]:
    return {"id": n, "sha256": hashlib.sha256(b"%d" % n).digest(), "width": 4, "height": 3, "format": "JPEG"}


def _file(n: int) -> dict[str, Any]:
    return {"id": n, "path": f"/photos/{n}.jpg", "size": n, "mtime_ns": 0, "image_id": n}


def _caption(n: int, recipe_id: int) -> dict[str, Any]:
    said = "a zebra" if n == 77 else f"dog number {n} of 100%"
    return {"image_id": n, "recipe_id": recipe_id, "text": said, "score": -1.0, "flag": "cut" if n % 50 == 0 else None}


def _item(n: int) -> dict[str, Any]:
    return {"job_id": 1, "unit_id": 1, "file_id": n, "state": "queued" if n == 7 else "done"}


def everything(ledger: Ledger, chosen: Filter, size: int = 1000) -> list[int]:
    found: list[int] = []
    with ledger.read() as connection:
        while page := gallery.page(connection, chosen, found[-1] if found else None, size):
            found += [photo.file_id for photo in page]
    return found


def view(ledger: Ledger, condition: str) -> list[int]:
    with ledger.read() as connection:
        query = text(f"SELECT file_id FROM photos WHERE {condition} ORDER BY file_id DESC")
        return list(connection.scalars(query))


@pytest.mark.parametrize("size", [48, 4999, 6000])
def test_pages_hold_every_photo_once_the_newest_first(filled: Ledger, size: int) -> None:
    assert everything(filled, Filter(), size) == [n for n in range(COUNT, 0, -1) if n != 7]


@pytest.mark.parametrize(
    ("chosen", "condition"),
    [
        (Filter("zebra"), "caption LIKE '%zebra%'"),
        (Filter("ZEBRA a"), "caption LIKE '%zebra%'"),
        (Filter("giraffe"), "source = 'human'"),
        (Filter("giraffe dog"), "1 = 0"),
        (Filter("number 49"), "caption LIKE '%number%' AND caption LIKE '%49%'"),
        (Filter("100%"), "caption LIKE '%100\\%%' ESCAPE '\\'"),
        (Filter("_"), "caption LIKE '%\\_%' ESCAPE '\\'"),
        (Filter("cat"), "caption LIKE '%cat%'"),
        (Filter(model="other"), "model = 'other'"),
        (Filter(model="demo"), "model = 'demo' AND source = 'model'"),
        (Filter(only="flagged"), "flag IS NOT NULL AND source = 'model'"),
        (Filter(only="edited"), "source = 'human'"),
        (Filter(only="failed"), "file_id = 7"),
        (Filter(only="waiting"), "file_id = 7"),
        (Filter(job=1), "caption IS NOT NULL"),
        (Filter(job=2), "1 = 0"),
    ],
)
def test_a_filter_says_what_the_view_says(filled: Ledger, chosen: Filter, condition: str) -> None:
    assert everything(filled, chosen) == view(filled, condition)


def test_neighbours_are_those_of_the_filter(filled: Ledger) -> None:
    with filled.read() as connection:
        assert gallery.neighbours(connection, Filter(), 8) == (9, 6)
        assert gallery.neighbours(connection, Filter(only="edited"), 300) == (400, 200)
        assert gallery.neighbours(connection, Filter(), COUNT) == (None, COUNT - 1)


def test_two_recipes_are_compared_on_what_both_captioned(filled: Ledger) -> None:
    with filled.read() as connection:
        second, first = (row.id for row in gallery.recipes(connection))
        both = gallery.pairs(connection, first, second, changed=False, before=None, limit=10)
        assert [(pair.photo.file_id, pair.before, pair.after) for pair in both] == [
            (12, "dog number 12 of 100%", "dog number 12 of 100%"),
            (11, "dog number 11 of 100%", "a brown cat"),
        ]
        changed = gallery.pairs(connection, first, second, changed=True, before=None, limit=10)
        assert [pair.photo.file_id for pair in changed] == [11]
        assert gallery.agreement(connection, first, second) == (2, 1)


def test_a_thumbnail_s_files_are_found_by_content(filled: Ledger, tmp_path: Path) -> None:
    with filled.read() as connection:
        assert gallery.files_of(connection, hashlib.sha256(b"9").digest()) == [b"/photos/9.jpg"]
        assert gallery.files_of(connection, b"\0" * 32) == []
