"""The writer: beside the next batch where batches are short, before it where they are long, never what was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from blipq.models import intake, lease, recipes, results
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.migrate import ensure_schema
from blipq.models.recipes import Recipe
from blipq.models.results import Captioned, Content
from blipq.settings import Settings
from blipq.worker.engine.decoding import Decoding
from blipq.worker.orders import Kind, Order
from blipq.worker.standing import Standing
from blipq.worker.task import Settled
from blipq.worker.writer import SHORT_SECONDS, UNWRITTEN, Writer

KIND = Kind("sha256:00", "folder", Decoding(), "fp32")
LONG = 2 * SHORT_SECONDS


@pytest.fixture
def standing(home: Path) -> Standing:
    home.mkdir(mode=0o700)
    ledger = Ledger(f"sqlite:///{home / 'blipq.db'}")
    ensure_schema(ledger)
    return Standing(ledger, Settings(home=home), "caption", "cpu", "tests")


@pytest.fixture
def writer(standing: Standing) -> Iterator[Writer]:
    made = Writer(standing)
    yield made
    made.close()


@pytest.fixture
def batches(standing: Standing) -> list[list[Settled]]:
    """Four claimed pictures of one unit, each as a batch of its own that is settled."""
    return settle(standing, "photos")


def settle(standing: Standing, folder: str) -> list[list[Settled]]:
    with standing.ledger.write() as connection:
        recipe = recipes.record(connection, Recipe("sha256:00"), "a model")
        job = intake.open_job(
            connection,
            kind="caption",
            source=folder,
            model="a model",
            recipe_id=recipe,
            parameters={},
            priority=0,
        )
        found = [Found(f"/{folder}/{number}.jpg", number, 1) for number in range(4)]
        intake.take_in(connection, job, recipe, found, again=False, so_far=0)
        intake.close_job(connection, job)
        held = lease.claim(connection, standing.worker_id, job, 30, 4, alone=True)
        works = results.read_work(connection, held, recipe, again=False)
    order = Order(job, 0, recipe, "", 0, KIND, False, None, (f"/{folder}",))
    return [
        [(order, Captioned(work, Content(bytes([number] * 32), 8, 8, "PNG"), f"caption {number}", -1.0))]
        for number, work in enumerate(works)
    ]


def captions(standing: Standing) -> list[str]:
    with standing.ledger.read() as connection:
        return list(connection.scalars(text("SELECT text FROM caption ORDER BY text")))


@contextmanager
def locked(standing: Standing) -> Iterator[None]:
    """Another program holds the database."""
    with standing.ledger.writer.begin():
        yield


def test_a_long_batch_is_written_when_put_returns(
    standing: Standing, writer: Writer, batches: list[list[Settled]]
) -> None:
    for number, batch in enumerate(batches):
        assert writer.put(batch, LONG) == set()
        assert len(captions(standing)) == number + 1
        assert not writer.units()


def test_short_batches_lie_unwritten_up_to_a_number_and_are_all_written_at_the_end(
    standing: Standing, writer: Writer, batches: list[list[Settled]]
) -> None:
    # Given a database that cannot be written just now
    with locked(standing):
        # When the model is quick, it goes on
        for batch in batches[:UNWRITTEN]:
            writer.put(batch, 0.0)
        assert captions(standing) == []
        assert writer.units() == {batches[0][0][1].work.lease.unit_id}
        # But no further than that
        third = threading.Thread(target=writer.put, args=(batches[UNWRITTEN], 0.0))
        third.start()
        third.join(0.3)
        assert third.is_alive()
    third.join(10)
    assert not third.is_alive()
    # Then all is written at the end
    assert writer.flush() == set()
    assert captions(standing) == [f"caption {number}" for number in range(UNWRITTEN + 1)]


def test_the_caption_of_a_content_is_known_before_it_is_written(
    standing: Standing, writer: Writer, batches: list[list[Settled]]
) -> None:
    order, outcome = batches[0][0]
    assert isinstance(outcome, Captioned)
    assert outcome.content is not None
    with locked(standing):
        writer.put(batches[0], 0.0)
        assert writer.caption(order.recipe_id, outcome.content.sha256) is outcome
        assert writer.caption(order.recipe_id + 1, outcome.content.sha256) is None
    writer.flush()
    assert writer.caption(order.recipe_id, outcome.content.sha256) is None


def test_nothing_of_a_lost_unit_is_written_and_it_is_named(
    standing: Standing, writer: Writer, batches: list[list[Settled]]
) -> None:
    # Given a batch that waits to be written, and its unit taken away meanwhile
    with standing.ledger.write() as connection:
        lease.expire(connection, standing.worker_id)
    # When it is written
    lost = writer.put(batches[0], LONG)
    # Then it is not
    assert lost == {batches[0][0][1].work.lease.unit_id}
    assert captions(standing) == []


def test_a_database_that_is_locked_for_a_while_costs_time_alone(
    standing: Standing, writer: Writer, batches: list[list[Settled]]
) -> None:
    def hold() -> None:
        with locked(standing):
            held.set()
            time.sleep(1)

    held = threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    assert writer.put(batches[0], LONG) == set()
    other.join()
    assert captions(standing) == ["caption 0"]


def test_a_content_of_two_units_keeps_its_caption_when_one_of_them_is_lost(standing: Standing, writer: Writer) -> None:
    # Given the same content in two units, with one caption for both, and the first of them taken away
    first, second = settle(standing, "photos")[0], settle(standing, "copies")[0]
    with standing.ledger.write() as connection:
        connection.execute(
            text("UPDATE unit SET fence = fence + 1 WHERE id = :id"), {"id": first[0][1].work.lease.unit_id}
        )
    # When both are written
    lost = writer.put([*first, *second], LONG)
    # Then the caption is there, under the second's fence, and the second is done
    assert lost == {first[0][1].work.lease.unit_id}
    assert captions(standing) == ["caption 0"]
    with standing.ledger.read() as connection:
        assert list(connection.scalars(text("SELECT done FROM unit ORDER BY id"))) == [0, 1]
