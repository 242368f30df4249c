"""Whoever holds an old lease writes nothing of a stranger: not after rows are deleted, nor after a copy comes back."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import select, text

from blipq.models import control, fleet, forget, intake, lease, recipes, results, upload
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.recipes import Recipe
from blipq.models.results import Captioned, Content, Failed, Origin, Work
from blipq.models.schema import caption, failure, item, job, unit
from blipq.models.upload import Received


class People:
    """Two workers, and jobs of pictures that all have one size, as frames of a camera do."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        with ledger.write() as connection:
            self.recipe = recipes.record(connection, Recipe("sha256:00"), "a model")
            self.workers = [fleet.register(connection, queue="caption", device="cpu", versions="none") for _ in "ab"]

    def upload(self, data: bytes) -> Received:
        with self.ledger.write() as connection:
            return upload.receive(
                connection, data, "frame.bmp", model="a model", recipe_id=self.recipe, parameters={}, deadline_in=60
            )

    def enqueue(self, folder: str, count: int = 8) -> int:
        with self.ledger.write() as connection:
            job_id = intake.open_job(
                connection,
                kind="caption",
                source=folder,
                model="a model",
                recipe_id=self.recipe,
                parameters={},
                priority=0,
            )
            found = [Found(f"/{folder}/{number}.bmp", 100, 1) for number in range(count)]
            intake.take_in(connection, job_id, self.recipe, found, again=False, so_far=0)
            intake.close_job(connection, job_id)
        return job_id

    def claim(self, worker: int, job_id: int) -> list[Work]:
        with self.ledger.write() as connection:
            held = lease.claim(connection, self.workers[worker], job_id, 30, 64, alone=True)
            return results.read_work(connection, held, self.recipe, again=False)

    def store(self, worker: int, outcomes: Sequence[Captioned | Failed]) -> set[int]:
        with self.ledger.write() as connection:
            return results.store(connection, outcomes, Origin(self.recipe, self.workers[worker], replace=False), 30)

    def says(self, works: Sequence[Work], words: str) -> list[Captioned | Failed]:
        return [
            Captioned(work, Content(hashlib.sha256(f"{words} {work.path}".encode()).digest(), 1, 1, "BMP"), words)
            for work in works
        ]

    def fails(self, works: Sequence[Work], words: str) -> list[Captioned | Failed]:
        return [Failed(work, "crash", words) for work in works]


@pytest.fixture
def people(ledger: Ledger) -> People:
    return People(ledger)


@pytest.mark.parametrize("late", [People.says, People.fails], ids=["a caption", "a failure"])
def test_a_caller_is_answered_with_nobody_elses_picture(people: People, late: Callable[..., list[Captioned]]) -> None:
    # Given a picture that a worker runs when its caller goes away
    alice = people.upload(b"A" * 1000)
    works = people.claim(0, alice.job_id)
    with people.ledger.write() as connection:
        control.cancel(connection, alice.job_id)
        upload.forget(connection, [alice.job_id])
    # When another caller's picture is claimed by another worker, and the first worker comes to its end
    bob = people.upload(b"B" * 1000)
    own = people.claim(1, bob.job_id)
    assert people.store(0, late(people, works, "of alice's")) == set()
    # Then nothing is said of the second picture until it is captioned itself
    with people.ledger.read() as connection:
        answer = upload.read_answer(connection, bob)
    assert (answer.caption, answer.kind) == (None, None)
    assert people.store(1, people.says(own, "of bob's")) == {own[0].lease.unit_id}
    with people.ledger.read() as connection:
        assert upload.read_answer(connection, bob).caption == "of bob's"


@pytest.mark.parametrize("by", ["job", "folder"])
@pytest.mark.parametrize("late", [People.says, People.fails], ids=["captions", "failures"])
def test_a_job_is_done_by_its_own_captions_alone(people: People, late: Callable[..., list[Captioned]], by: str) -> None:
    # Given a job that is forgotten while a worker runs it
    old = people.enqueue("old")
    works = people.claim(0, old)
    with people.ledger.write() as connection:
        control.cancel(connection, old)
        if by == "job":
            while forget.forget_items(connection, old):
                pass
            forget.forget_job(connection, old)
        else:
            forget.forget_files(connection, forget.files_under(connection, "/old", 0))
    # When another job takes its place, and that worker comes to its end
    new = people.enqueue("new")
    own = people.claim(1, new)
    assert people.store(0, late(people, works, "late")) == set()
    # Then the other job has all of its pictures to do, and is done when they have their captions
    with people.ledger.read() as connection:
        assert connection.scalar(text("SELECT remaining FROM jobs WHERE id = :id").bindparams(id=new)) == 8
        assert connection.execute(select(failure)).all() == []
    people.store(1, people.says(own, "in time"))
    with people.ledger.read() as connection:
        assert connection.scalar(select(job.c.state).where(job.c.id == new)) == "done"
        assert set(connection.scalars(select(caption.c.text))) == {"in time"}
        assert set(connection.scalars(select(item.c.state).where(item.c.job_id == new))) == {"done"}


def test_no_two_claims_ever_have_one_fence(people: People) -> None:
    fences = []
    for number in range(20):
        job_id = people.enqueue(f"folder {number}")
        for _ in range(3):
            works = people.claim(0, job_id)
            fences += [{work.lease.fence for work in works}]
            with people.ledger.write() as connection:
                lease.hand_back(connection, [work.lease for work in works])
    assert sum(map(len, fences)) == len(set().union(*fences)) == 60


def test_a_ledger_restored_from_a_copy_knows_no_lease_of_before(tmp_path: Path, migrated_file: Path) -> None:
    # Given a copy of a ledger, and a claim of its job after the copy was made
    path, copy = tmp_path / "blipq.db", tmp_path / "copy.db"
    path.write_bytes(migrated_file.read_bytes())
    ledger = Ledger(f"sqlite:///{path}")
    people = People(ledger)
    job_id = people.enqueue("folder")
    _copy(path, copy)
    works = people.claim(0, job_id)
    ledger.close()
    # When the copy takes the ledger's place, and another worker claims the same unit of it
    _copy(copy, path)
    own = people.claim(1, job_id)
    assert own[0].lease.unit_id == works[0].lease.unit_id
    # Then the first one's late captions are nobody's
    assert people.store(0, people.says(works, "late")) == set()
    with ledger.read() as connection:
        assert connection.execute(select(caption)).all() == []
        assert connection.scalar(select(unit.c.done).where(unit.c.job_id == job_id)) == 0
    ledger.close()


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)
