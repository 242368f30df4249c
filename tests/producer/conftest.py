"""A ledger with captioned photos, made of rows alone: no model, no worker."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import insert, select

from blipq.models import intake, recipes, schema
from blipq.models.database import Ledger, open_ledger
from blipq.models.migrate import ensure_schema, upgrade
from blipq.models.recipes import Recipe
from blipq.settings import Settings


class Library:
    """Photos on disk and their captions in a ledger."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.folder = folder

    def photo(self, name: str | bytes, size: tuple[int, int] = (32, 24), **save: object) -> bytes:
        """A picture file of its own colours."""
        path = os.path.join(os.fsencode(self.folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        digest = hashlib.sha256(path).digest()
        picture = Image.new("RGB", size, tuple(digest[:3]))
        picture.putpixel((1, 1), tuple(digest[3:6]))
        with open(path, "wb") as opened:
            picture.save(opened, _kind(path), **save)
        return path

    def caption(
        self, path: bytes, text: str, *, model: str = "tiny", sha256: bytes | None = None, **more: object
    ) -> int:
        """A file's row, its content's, and a caption; returns the image's id."""
        seen = os.stat(path)
        shown = path.decode("utf-8", "backslashreplace")
        raw = None if os.fsencode(shown) == path else path
        content = sha256 or hashlib.sha256(path).digest()
        with self.ledger.write() as connection:
            recipe_id = recipes.record(connection, Recipe(weights=f"sha256:{model}"), model)
            found = select(schema.image.c.id).where(schema.image.c.sha256 == content)
            image_id = connection.scalar(found)
            if image_id is None:
                image = {"sha256": content, "width": 32, "height": 24, "format": "JPEG"}
                image_id = connection.execute(
                    insert(schema.image).values(image).returning(schema.image.c.id)
                ).scalar_one()
                caption = {"image_id": image_id, "recipe_id": recipe_id, "text": text, "score": -0.5} | more
                connection.execute(insert(schema.caption).values(caption))
            file = {"path": shown, "path_raw": raw, "size": seen.st_size, "mtime_ns": seen.st_mtime_ns}
            connection.execute(insert(schema.file).values(file | {"image_id": image_id}))
        return int(image_id)

    def job(self, paths: list[bytes], *, model: str = "tiny", state: str = "done") -> int:
        """A job that had some photos to do."""
        with self.ledger.write() as connection:
            recipe_id = recipes.record(connection, Recipe(weights=f"sha256:{model}"), model)
            job_id = intake.open_job(
                connection, kind="caption", source="x", model=model, recipe_id=recipe_id, parameters={}, priority=0
            )
            unit = {"job_id": job_id, "queue": "caption", "state": state, "pictures": len(paths)}
            unit["done"] = len(paths) if state == "done" else 0
            unit_id = connection.execute(insert(schema.unit).values(unit).returning(schema.unit.c.id)).scalar_one()
            for path in paths:
                shown = path.decode("utf-8", "backslashreplace")
                file_id = connection.scalar(select(schema.file.c.id).where(schema.file.c.path == shown))
                item = {"job_id": job_id, "unit_id": unit_id, "file_id": file_id, "state": state}
                connection.execute(insert(schema.item).values(item))
            connection.execute(schema.job.update().where(schema.job.c.id == job_id).values(state=state))
        return job_id

    def count(self, table: str) -> int:
        with self.ledger.read() as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def _kind(path: bytes) -> str:
    return {b".png": "PNG", b".webp": "WEBP", b".bmp": "BMP"}.get(os.path.splitext(path)[1], "JPEG")


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an empty ledger, to be copied: migrating takes 0.3 s."""
    home = tmp_path_factory.mktemp("empty") / "home"
    ledger = open_ledger(Settings(home=home))
    ensure_schema(ledger)
    ledger.close()
    return home


@pytest.fixture
def library(tmp_path: Path, home: Path, empty_ledger: Path) -> Iterator[Library]:
    """An empty SQLite ledger in the test's home, and a folder for photos."""
    shutil.copytree(empty_ledger, home)
    ledger = open_ledger(Settings(home=home))
    (tmp_path / "photos").mkdir()
    yield Library(ledger, tmp_path / "photos")
    ledger.close()


@pytest.fixture(scope="session")
def migrated_server(fresh_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A PostgreSQL database with the schema, to be emptied: making one takes 0.5 s."""
    with fresh_postgres() as url:
        ledger = Ledger(url.replace("postgresql:", "postgresql+psycopg:"))
        upgrade(ledger)
        ledger.close()
        yield ledger.url


@pytest.fixture
def postgres_library(tmp_path: Path, migrated_server: str) -> Iterator[Library]:
    """The same on PostgreSQL."""
    ledger = Ledger(migrated_server)
    with ledger.writer.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {', '.join(schema.METADATA.tables)} RESTART IDENTITY")
    (tmp_path / "photos").mkdir()
    yield Library(ledger, tmp_path / "photos")
    ledger.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_library(request: pytest.FixtureRequest) -> Library:
    """The test is run on both databases."""
    found: Callable[[str], Library] = request.getfixturevalue
    return found("library" if request.param == "sqlite" else "postgres_library")
