"""A ledger on each database, and short ways to fill it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from blipq.models import intake, lease, migrate, recipes, results
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.lease import Lease
from blipq.models.recipes import Recipe
from blipq.models.results import Captioned, Content, Failed, Origin
from blipq.models.schema import METADATA, job

UNCOMMITTED_SECONDS = 0.3  # that a transaction stays open in which another begins, and waits


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


Outcomes = Callable[..., list[Captioned | Failed]]


@pytest.fixture
def outcomes(ledger: Ledger) -> Outcomes:
    """What the model makes of claimed units, in order; `failed` tells the places of those that it fails."""

    def make(held: list[Lease], job_id: int, failed: Sequence[int] = ()) -> list[Captioned | Failed]:
        with ledger.read() as connection:
            recipe_id = connection.execute(select(job.c.recipe_id).where(job.c.id == job_id)).scalar_one()
            works = results.read_work(connection, held, recipe_id, again=False)
        return [
            Failed(work, "corrupt", "broken")
            if place in failed
            else Captioned(work, Content(work.path.encode().ljust(32)[-32:], 4, 3, "JPEG"), f"caption of {work.path}")
            for place, work in enumerate(works)
        ]

    return make


def stored(outcomes: Sequence[Captioned | Failed]) -> Callable[[Connection], set[int]]:
    """The transaction of a worker that stores a batch."""
    return lambda connection: results.store(connection, outcomes, Origin(1, 1, False), 30)


@pytest.fixture
def store() -> Callable[[Sequence[Captioned | Failed]], Callable[[Connection], set[int]]]:
    """See `stored`."""
    return stored


Beside = Callable[[Callable[[Connection], Any], Callable[[Connection], Any]], tuple[Any, Any]]


@pytest.fixture
def beside(ledger: Ledger) -> Beside:
    """Run a transaction while another one has written and is not committed; what both return, or raise."""

    def run(first: Callable[[Connection], Any], second: Callable[[Connection], Any]) -> tuple[Any, Any]:
        written, answers = threading.Event(), []

        def begin() -> None:
            try:
                with ledger.write() as connection:
                    answers.append(first(connection))
                    written.set()
                    time.sleep(UNCOMMITTED_SECONDS)
            except Exception as error:
                answers[:] = [error]
                written.set()

        thread = threading.Thread(target=begin)
        thread.start()
        written.wait()
        try:
            with ledger.write() as connection:
                answer = second(connection)
        except Exception as error:
            answer = error
        thread.join()
        return answers[0], answer

    return run


@pytest.fixture
def at_once() -> Callable[..., list[Exception]]:
    """Run acts in threads that begin together; what they raised."""

    def run(*acts: Callable[[], object]) -> list[Exception]:
        start, errors = threading.Barrier(len(acts)), []

        def begin(act: Callable[[], object]) -> None:
            start.wait()
            try:
                act()
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=begin, args=(act,)) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return errors

    return run
