"""Workers, people, enqueues and forgetting at random beside each other: whatever the order, every count is what its
rows are, nobody waits in a circle, and what is left can be done."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import select, text

from blipq.models import contents, control, fleet, forget, intake, lease, recipes, results
from blipq.models.control import ENDED, NoSuchJob
from blipq.models.database import Ledger, TransactionLost
from blipq.models.forget import StillWanted
from blipq.models.intake import Found, JobCancelled
from blipq.models.recipes import Recipe
from blipq.models.results import Captioned, Content, Failed, Origin
from blipq.models.schema import file, job

LONG = os.environ.get("BLIPQ_TEST_LONG") == "1"
SECONDS = 60.0 if LONG else 4.0
SEEDS = range(4) if LONG else range(1)
PHOTOS = 60
REFUSED = (StillWanted, NoSuchJob, JobCancelled)

# What must be empty, at any moment and for any reader; each is one statement, and so one picture of the ledger.
WRONG = {
    "units whose pictures are not done, failed or queued": """
        SELECT unit.id, unit.state, unit.pictures, unit.done, unit.failed, count(item.id)
          FROM unit LEFT JOIN item ON item.unit_id = unit.id AND item.state = 'queued'
         GROUP BY unit.id HAVING unit.pictures <> unit.done + unit.failed + count(item.id)""",
    "units that count less than their rows": """
        SELECT unit.id, unit.done, unit.failed FROM unit JOIN item ON item.unit_id = unit.id GROUP BY unit.id
        HAVING unit.done < sum(CASE WHEN item.state = 'done' THEN 1 ELSE 0 END)
            OR unit.failed < sum(CASE WHEN item.state = 'failed' THEN 1 ELSE 0 END)""",
    "units that nobody can end": """
        SELECT id, state FROM unit WHERE state IN ('queued', 'running') AND pictures = done + failed""",
    "failures without a reason, or reasons without a failure": """
        SELECT item.id, item.state, failure.kind FROM item
          LEFT JOIN failure ON failure.job_id = item.job_id AND failure.file_id = item.file_id
         WHERE (item.state = 'failed') <> (failure.id IS NOT NULL)""",
    "jobs that are done with something left to do": """
        SELECT job.id, unit.id, unit.state FROM job JOIN unit ON unit.job_id = job.id
         WHERE job.state = 'done' AND unit.state IN ('queued', 'running')""",
    "jobs that never end": """
        SELECT id, state FROM job WHERE state IN ('queued', 'running')
           AND NOT EXISTS (SELECT 1 FROM unit WHERE job_id = job.id AND state IN ('queued', 'running'))""",
    "work that runs in a cancelled job": """
        SELECT job.id, unit.id FROM job JOIN unit ON unit.job_id = job.id
         WHERE job.state = 'cancelled' AND unit.state = 'running'""",
    "items of another job's unit": """
        SELECT item.id FROM item JOIN unit ON unit.id = item.unit_id WHERE unit.job_id <> item.job_id""",
}
# Holds where nobody forgets: what was forgotten is still counted as done.
WRONG_UNLESS_FORGOTTEN = {
    "units that count more than their rows": """
        SELECT unit.id, unit.done, unit.failed FROM unit JOIN item ON item.unit_id = unit.id GROUP BY unit.id
        HAVING unit.done > sum(CASE WHEN item.state = 'done' THEN 1 ELSE 0 END)
            OR unit.failed > sum(CASE WHEN item.state = 'failed' THEN 1 ELSE 0 END)""",
    "jobs whose sums are not what was found": """
        SELECT job.id, job.total, job.skipped, sum(unit.pictures) FROM job JOIN unit ON unit.job_id = job.id
         GROUP BY job.id HAVING job.total <> job.skipped + sum(unit.pictures)""",
}


class House:
    """A ledger, and those who use it, each with a random stream of its own."""

    def __init__(self, ledger: Ledger, seed: int, *, forgetting: bool) -> None:
        self.ledger, self.seed = ledger, seed
        self.wrong = WRONG if forgetting else WRONG | WRONG_UNLESS_FORGOTTEN
        self.errors: list[BaseException] = []
        self.acts = 0
        self.ended = 0  # transactions that PostgreSQL ended for another's sake: nothing of them is written
        with ledger.write() as connection:
            self.recipe_id = recipes.record(connection, Recipe("sha256:0"), "m")

    def run(self, *users: Callable[[random.Random], None]) -> None:
        """Let all of them act until the time is over or one of them fails."""
        end = time.monotonic() + SECONDS

        def act_on(number: int) -> None:
            chance = random.Random(f"{self.seed} {number}")
            while time.monotonic() < end and not self.errors:
                try:
                    users[number](chance)
                    self.acts += 1
                except TransactionLost:
                    self.ended += 1
                except REFUSED:
                    pass
                except BaseException as error:
                    self.errors.append(error)

        threads = [threading.Thread(target=act_on, args=(number,)) for number in range(len(users))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for error in self.errors:
            raise error

    def look(self, _: random.Random) -> None:
        """Find what must never be there."""
        for what, query in self.wrong.items():
            with self.ledger.read() as connection:
                rows = connection.execute(text(query)).all()
            assert not rows, f"{what}: {[tuple(row) for row in rows[:3]]}"

    def enqueue(self, chance: random.Random) -> None:
        """A job of photos in any order, in chunks; sometimes it is left unfinished."""
        names = chance.sample(range(PHOTOS), chance.randint(1, PHOTOS))
        found = [Found(f"/{name:02}.jpg", 9, chance.randint(1, 2)) for name in names]
        with self.ledger.write() as connection:
            job_id = intake.open_job(
                connection,
                **{"kind": "caption", "source": "x", "model": "m", "parameters": {}, "priority": 0},
                recipe_id=self.recipe_id,
                deadline_in=chance.choice([None, None, 0.1]),
            )
        for part in (found[:20], found[20:]):
            if part:
                with self.ledger.write() as connection:
                    again = chance.random() < 0.8
                    intake.take_in(connection, job_id, self.recipe_id, part, again=again, so_far=0)
        if chance.random() < 0.9:
            with self.ledger.write() as connection:
                intake.close_job(connection, job_id)
        else:
            with self.ledger.write() as connection:
                connection.execute(text("UPDATE job SET scanned_at = 1 WHERE id = :job"), {"job": job_id})

    def worker(self) -> Callable[[random.Random], None]:
        """Claims, stores in parts, gives back or dies."""
        with self.ledger.write() as connection:
            worker_id = fleet.register(connection, queue="caption", device="cpu", versions="none")

        def work(chance: random.Random) -> None:
            with self.ledger.read() as connection:
                due = lease.due(connection, "caption")
            if not due:
                time.sleep(0.005)
                return
            chosen = chance.choice(due).job_id
            with self.ledger.write() as connection:
                held = lease.claim(connection, worker_id, chosen, 30, chance.choice([1, 20, 100]), alone=True)
                works = results.read_work(connection, held, self.recipe_id, again=True)
            outcomes = [_outcome(chance, one) for one in works]
            part = chance.choice([1, 5, 64])
            for start in range(0, len(outcomes), part):
                if chance.random() < 0.1:
                    break
                self.store(outcomes[start : start + part], worker_id)
            with self.ledger.write() as connection:
                if chance.random() < 0.2:
                    lease.expire(connection, worker_id)
                else:
                    lease.release(connection, worker_id)

        return work

    def store(self, outcomes: Sequence[Captioned | Failed], worker_id: int) -> None:
        """One batch; where it may be stored, its job was open before."""
        with self.ledger.write() as connection:
            results.store(connection, outcomes, Origin(self.recipe_id, worker_id, True), 30)

    def control(self, chance: random.Random) -> None:
        """What people and sweepers do. Nobody else retries here: what is cancelled stays so until this retries it."""
        job_id = self.any_job(chance)
        match chance.randint(0, 5):
            case 0 | 1:
                with self.ledger.write() as connection:
                    control.cancel(connection, job_id)
                with self.ledger.read() as connection:
                    state = connection.scalar(select(job.c.state).where(job.c.id == job_id))
                assert state in (*ENDED, None), f"job {job_id} was cancelled and is {state}"
            case 2 | 3:
                with self.ledger.write() as connection:
                    control.retry(connection, job_id, everything=chance.random() < 0.5)
            case 4:
                with self.ledger.write() as connection:
                    control.cancel_overdue(connection)
            case 5:
                with self.ledger.write() as connection:
                    control.close_abandoned(connection)

    def forget(self, chance: random.Random) -> None:
        """Photos or a job, as `blipq forget` does, and orphans, as `blipq gc` does."""
        if chance.random() < 0.5:
            with self.ledger.read() as connection:
                files = list(connection.scalars(select(file.c.id)))
            some = chance.sample(files, min(len(files), chance.randint(1, 9)))
            with self.ledger.write() as connection:
                forget.forget_files(connection, some)
            with self.ledger.write() as connection:
                forget.forget_images(connection, forget.orphans(connection, 0), keep_edited=True)
        else:
            job_id, left = self.any_job(chance), True
            while left:
                with self.ledger.write() as connection:
                    forget.check_job(connection, job_id)
                    left = forget.forget_items(connection, job_id) is not None
                    if not left:
                        forget.forget_job(connection, job_id)

    def record(self, chance: random.Random) -> None:
        """What an import finds in photos."""
        names = chance.sample(range(PHOTOS), chance.randint(1, 20))
        found = [(Found(f"/{name:02}.jpg", 9, chance.randint(1, 2)), _content(name)) for name in names]
        with self.ledger.write() as connection:
            contents.record(connection, found)

    def any_job(self, chance: random.Random) -> int:
        """One of the newest."""
        with self.ledger.read() as connection:
            ids = connection.scalars(select(job.c.id).order_by(job.c.id.desc()).limit(5)).all()
        return chance.choice(ids) if ids else 0

    def finish(self) -> None:
        """All that is left is retried and done; then every photo of a job is captioned."""
        with self.ledger.write() as connection:
            connection.execute(text("UPDATE job SET scanned_at = 1 WHERE state = 'scanning'"))
            control.close_abandoned(connection)
        with self.ledger.read() as connection:
            jobs = list(connection.scalars(select(job.c.id)))
        for job_id in jobs:
            with self.ledger.write() as connection:
                control.retry(connection, job_id, everything=True)
        with self.ledger.write() as connection:
            worker_id = fleet.register(connection, queue="caption", device="cpu", versions="none")
        while True:
            with self.ledger.write() as connection:
                due = lease.due(connection, "caption")
                if not due:
                    break
                held = lease.claim(connection, worker_id, due[0].job_id, 30, 1000, alone=True)
                works = results.read_work(connection, held, self.recipe_id, again=True)
            self.store([_captioned(one) for one in works], worker_id)
        with self.ledger.read() as connection:
            assert set(connection.scalars(select(job.c.state))) <= {"done", "cancelled"}  # before it had a photo
            assert connection.scalar(text("SELECT count(*) FROM item WHERE state <> 'done'")) == 0


def _content(name: int) -> Content:
    return Content((name // 2).to_bytes(32), 4, 3, "JPEG")  # two photos each have one content


def _captioned(one: results.Work) -> Captioned:
    return Captioned(one, _content(int(one.path[1:3])), "a letter")


def _outcome(chance: random.Random, one: results.Work) -> Captioned | Failed:
    return Failed(one, "corrupt", "broken") if chance.random() < 0.3 else _captioned(one)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("forgetting", [False, True], ids=["", "forgetting"])
def test_every_count_is_what_its_rows_are(ledger: Ledger, seed: int, forgetting: bool) -> None:
    house = House(ledger, seed, forgetting=forgetting)
    users: list[Any] = [house.enqueue, house.enqueue, house.control, house.record, house.look]
    house.run(*users, house.worker(), house.worker(), *([house.forget, house.forget] if forgetting else []))
    house.look(random.Random())
    house.finish()
    house.look(random.Random())
    assert house.acts > 0  # in 4 s; a few hundred on an idle machine
    # Each is made again by whoever asked for it (`Ledger.transact`); what must not be is that little else comes of it.
    assert house.ended <= max(5, house.acts // 5)
