"""Nobody waits in a circle; who does all the same is told what it was, and a transaction is made again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text, update

from blipq.models import contents, edits, forget, intake, recipes, results, upload, weights
from blipq.models.database import Ledger, LedgerError, TransactionLost
from blipq.models.intake import Found
from blipq.models.recipes import Recipe
from blipq.models.results import Content
from blipq.models.schema import PRIORITIES, caption, edit, file, image, job, queue, unit

Make = Callable[..., Any]


def _photos(count: int, folder: str = "photos", time: int = 1) -> list[Found]:
    return [Found(f"/{folder}/{number:04}.jpg", 100, time) for number in range(count)]


def _content(number: int) -> Content:
    return Content(number.to_bytes(32), 4, 3, "JPEG")


def _take_in(ledger: Ledger, found: list[Found]) -> None:
    job_id = ledger.transact(
        lambda c: intake.open_job(
            c, kind="caption", source="x", model="m", recipe_id=None, parameters={}, priority=PRIORITIES["normal"]
        )
    )
    with ledger.write() as connection:
        intake.take_in(connection, job_id, None, found, again=False, so_far=0)


@pytest.mark.parametrize("known", [False, True])
def test_two_may_enqueue_the_same_photos_in_opposite_order(ledger: Ledger, at_once: Make, known: bool) -> None:
    for number in range(3):
        photos = _photos(1500, str(number))
        if known:  # and changed since
            _take_in(ledger, _photos(1500, str(number), time=0))
        assert at_once(lambda: _take_in(ledger, photos), lambda: _take_in(ledger, photos[::-1])) == []  # noqa: B023


def test_enqueueing_importing_and_storing_wait_for_each_other_in_one_order(ledger: Ledger, at_once: Make) -> None:
    # Given photos whose ids run against their paths
    for photo in _photos(300)[::-1]:
        with ledger.write() as connection:
            contents.record(connection, [(photo, _content(0))])
    with ledger.read() as connection:
        ids = {row.path: row.id for row in connection.execute(select(file.c.id, file.c.path))}

    def enqueue() -> None:
        for number in range(2, 8):
            _take_in(ledger, _photos(300, time=number))

    def record() -> None:
        for number in range(2, 8):
            with ledger.write() as connection:
                contents.record(connection, [(one, _content(at)) for at, one in enumerate(_photos(300, time=number))])

    def link() -> None:  # as `results.store` does
        for number in range(2, 8):
            with ledger.write() as connection:
                found = results.images(connection, [_content(at) for at in range(300)])
                links = [
                    {"id": ids[one.path], "image_id": found[_content(at).sha256]}
                    for at, one in enumerate(_photos(300, time=number))
                ]
                results.update_rows(connection, file, ["id"], links)

    # When they are enqueued, imported and captioned at once
    # Then nobody waits in a circle
    assert at_once(enqueue, record, link, enqueue) == []


def test_two_servers_may_forget_the_same_pictures(ledger: Ledger, at_once: Make) -> None:
    for _ in range(3):
        jobs = []
        for _ in range(30):
            with ledger.write() as connection:
                received = upload.receive(
                    connection, b"x", "a.jpg", model="demo", recipe_id=None, parameters={}, deadline_in=60
                )
                connection.execute(update(unit).where(unit.c.id == received.unit_id).values(state="done"))
                connection.execute(update(job).where(job.c.id == received.job_id).values(state="done"))
                jobs.append(received.job_id)
        acts = [
            lambda ids=ids: ledger.transact(lambda connection: upload.forget(connection, ids))  # type: ignore[misc]
            for ids in (jobs, jobs[::-1])
        ]
        assert at_once(*acts) == []
    with ledger.read() as connection:
        assert connection.scalar(select(func.count(file.c.id))) == 0


def test_a_content_that_is_forgotten_while_it_is_captioned_anew_is_there(ledger: Ledger, beside: Make) -> None:
    # Given contents that no file holds any more
    with ledger.write() as connection:
        recipe_id = recipes.record(connection, Recipe("sha256:0"), "m")
        old = results.images(connection, [_content(1), _content(2)])

    def caption_it(connection: Connection) -> int:
        made = results.images(connection, [_content(1)])[_content(1).sha256]
        time.sleep(0.1)
        connection.execute(caption.insert().values(image_id=made, recipe_id=recipe_id, text="a letter"))
        connection.execute(file.insert().values(path=f"/{made}", size=1, mtime_ns=1, image_id=made))
        return made

    def collect(connection: Connection) -> int:
        return len(forget.forget_images(connection, list(old.values()), keep_edited=True).contents)

    # When they are collected while one is met again: whoever is first, its caption is there
    assert beside(caption_it, collect) == (old[_content(1).sha256], 1)
    with ledger.write() as connection:
        connection.execute(file.delete())
    gone, made = beside(collect, caption_it)
    assert gone == 1
    with ledger.read() as connection:
        assert connection.scalars(select(caption.c.image_id)).all() == [made]
        assert connection.scalars(select(image.c.id)).all() == [made]


def test_words_for_a_photo_that_is_forgotten_just_now_are_left_out(ledger: Ledger, beside: Make) -> None:
    with ledger.write() as connection:
        ids = list(results.images(connection, [_content(1), _content(2)]).values())
    texts = dict.fromkeys(ids, "mine")
    write: Make = lambda connection: edits.write_edits(connection, texts, "me", "batch")  # noqa: E731
    forgotten, written = beside(lambda c: forget.forget_images(c, ids[:1], keep_edited=True), write)
    assert (len(forgotten.contents), written) == (1, 1)
    with ledger.read() as connection:
        assert connection.scalars(select(edit.c.image_id)).all() == ids[1:]


def test_the_same_words_of_two_people_at_once_are_one_edit(ledger: Ledger, beside: Make) -> None:
    with ledger.write() as connection:
        (image_id,) = results.images(connection, [_content(1)]).values()
    write: Make = lambda connection: edits.write_edits(connection, {image_id: "mine"}, "me", "batch")  # noqa: E731
    assert beside(write, write) == (1, 0)


def test_a_model_folder_may_be_looked_at_by_two_for_the_first_time(ledger: Ledger, beside: Make) -> None:
    look: Make = lambda connection: weights.resolve(connection, "demo").id  # noqa: E731
    first, second = beside(look, look)
    assert first == second


def test_a_job_has_the_recipe_of_the_worker_that_resolved_its_model_first(ledger: Ledger, tmp_path: Path) -> None:
    from blipq.worker.orders import settle_recipe

    # Given a job whose model's name meant other weights to another worker, which was first
    job_id = ledger.transact(
        lambda c: intake.open_job(
            c, kind="caption", source="x", model="demo", recipe_id=None, parameters={}, priority=0
        )
    )
    with ledger.write() as connection:
        other = recipes.record(connection, Recipe("sha256:other"), "other")
        connection.execute(update(job).values(recipe_id=other, model="other"))
    # When this one resolves it
    with ledger.write() as connection:
        settled = settle_recipe(connection, job_id, "demo", {})
    # Then both caption under one recipe
    assert settled == (other, Recipe("sha256:other"))


def _circle(ledger: Ledger, act: Callable[[Callable[[Connection], None]], object]) -> list[Exception]:
    """Two transactions that lock two rows in opposite order, each run by `act`; what they raised."""
    with ledger.write() as connection:
        connection.execute(queue.delete())
        connection.execute(queue.insert(), [{"name": "a", "paused": False}, {"name": "b", "paused": False}])
    both, errors = threading.Barrier(2), []

    def run(*names: str) -> None:
        first = True

        def lock(connection: Connection) -> None:
            nonlocal first
            for name in names:
                connection.execute(update(queue).where(queue.c.name == name).values(changed_at=1.0))
                if first:
                    first = False
                    both.wait(10)

        try:
            act(lock)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def _once(ledger: Ledger, act: Callable[[Connection], None]) -> None:
    with ledger.write() as connection:
        act(connection)


@pytest.fixture
def postgres(migrated_postgres: str) -> Any:
    made = Ledger(migrated_postgres, patience=1)
    yield made
    made.close()


def test_a_deadlock_is_told_as_one(postgres: Ledger) -> None:
    patient = Ledger(postgres.url, patience=30)

    (error,) = _circle(patient, partial(_once, patient))
    patient.close()
    assert isinstance(error, TransactionLost)
    assert str(error).startswith(
        "two transactions waited for each other, and the database ended this one (a deadlock): "
        "nothing of it was written, try again ("
    )
    assert "\n" not in str(error)


def test_a_transaction_that_a_deadlock_ended_is_made_again(postgres: Ledger) -> None:
    patient = Ledger(postgres.url, patience=30)
    assert _circle(patient, patient.transact) == []
    patient.close()


def test_a_transaction_that_another_one_was_quicker_than_is_made_again(postgres: Ledger) -> None:
    with postgres.write() as connection:
        connection.execute(queue.delete())
        connection.execute(queue.insert().values(name="a", paused=False))
    tries = 0

    def change(connection: Connection) -> None:
        nonlocal tries
        tries += 1
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(select(queue.c.changed_at)).all()
        if tries == 1:
            with postgres.write() as other:
                other.execute(update(queue).values(changed_at=1.0))
        connection.execute(update(queue).values(changed_at=2.0))

    postgres.transact(change)
    assert tries == 2
    tries = 0
    with pytest.raises(TransactionLost, match="another transaction changed the same rows first"):
        _once(postgres, change)


def test_who_waits_too_long_for_a_row_is_told_so_and_not_that_the_database_is_locked(postgres: Ledger) -> None:
    other = Ledger(postgres.url)
    began = time.monotonic()
    told = "another transaction holds these rows for too long: try again, or look for one that is stuck"
    with other.write() as holder:
        holder.execute(queue.insert().values(name="c", paused=False))
        with pytest.raises(LedgerError, match=told):
            postgres.transact(lambda connection: connection.execute(queue.insert().values(name="c", paused=True)))
    other.close()
    assert 1 <= time.monotonic() - began < 9


def test_a_statement_that_the_server_ended_does_not_read_as_a_server_that_is_away(postgres: Ledger) -> None:
    def sleep(connection: Connection) -> None:
        connection.execute(text("SET LOCAL statement_timeout = 50"))
        connection.execute(text("SELECT pg_sleep(5)"))

    with pytest.raises(LedgerError, match="the server ended the statement"):
        _once(postgres, sleep)
