"""A ledger on each database, and short ways to fill it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from blipq.models import intake, lease, migrate, recipes
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.lease import Lease
from blipq.models.recipes import Recipe
from blipq.models.schema import METADATA


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger of this version's schema."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "blipq.db")
        made = Ledger(f"sqlite:///{tmp_path / 'blipq.db'}")
    else:
        made = Ledger(request.getfixturevalue("migrated_postgres"))
        with made.writer.begin() as connection:
            tables = ", ".join(METADATA.tables)
            connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
    yield made
    made.close()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema, to be copied: migrating takes 0.3 s."""
    path = tmp_path_factory.mktemp("migrated") / "blipq.db"
    made = Ledger(f"sqlite:///{path}")
    migrate.upgrade(made)
    made.close()
    return path


@pytest.fixture(scope="session")
def migrated_postgres(fresh_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A PostgreSQL database with the schema, to be emptied: making one takes 0.5 s."""
    with fresh_postgres() as url:
        url = url.replace("postgresql://", "postgresql+psycopg://")
        made = Ledger(url)
        migrate.upgrade(made)
        made.close()
        yield url


Fill = Callable[..., int]


@pytest.fixture
def fill(ledger: Ledger) -> Fill:
    """Make a job of some files; returns its id."""

    def make(paths: Sequence[str], *, weights: str = "sha256:00", priority: int = 0, again: bool = False) -> int:
        with ledger.write() as connection:
            recipe_id = recipes.record(connection, Recipe(weights), "a model")
            job_id = intake.open_job(
                connection,
                kind="caption",
                source="photos",
                model="a model",
                recipe_id=recipe_id,
                parameters={},
                priority=priority,
            )
            found = [Found(path, len(path), 1) for path in paths]
            intake.take_in(connection, job_id, recipe_id, found, again=again, so_far=0)
            intake.close_job(connection, job_id)
        return job_id

    return make


@pytest.fixture
def claim(ledger: Ledger) -> Callable[..., list[Lease]]:
    """Claim pictures of a job as worker 1."""
    from blipq.models import fleet

    with ledger.write() as connection:
        worker = fleet.register(connection, queue="caption", device="cpu", versions="none")

    def take(job_id: int, pictures: int = 10_000, seconds: float = 30, alone: bool = True) -> list[Lease]:
        with ledger.write() as connection:
            return lease.claim(connection, worker, job_id, seconds, pictures, alone=alone)

    return take
