"""A picture that shares another's caption is done only while that caption is there: whoever forgets it comes first."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import func, select

from blipq.models import forget, lease, results
from blipq.models.database import Ledger
from blipq.models.lease import Lease
from blipq.models.results import Captioned, Content, Origin, Work
from blipq.models.schema import caption, file, image, item, job

Fill = Callable[..., int]
Claim = Callable[..., list[Lease]]


def _recipe(ledger: Ledger, job_id: int) -> int:
    with ledger.read() as connection:
        return int(connection.execute(select(job.c.recipe_id).where(job.c.id == job_id)).scalar_one())


def _works(ledger: Ledger, held: Sequence[Lease], job_id: int) -> list[Work]:
    with ledger.read() as connection:
        return results.read_work(connection, held, _recipe(ledger, job_id), again=False)


def _store(ledger: Ledger, outcomes: Sequence[Captioned], job_id: int) -> set[int]:
    with ledger.write() as connection:
        return results.store(connection, outcomes, Origin(_recipe(ledger, job_id), 1, replace=False), 30)


def _content(name: str) -> Content:
    return Content(hashlib.sha256(name.encode()).digest(), 10, 10, "JPEG")


@pytest.mark.parametrize("linked", [True, False], ids=["known by its file", "known by its content"])
def test_a_caption_that_was_forgotten_meanwhile_is_made_again(
    ledger: Ledger, fill: Fill, claim: Claim, linked: bool
) -> None:
    # Given a captioned photo, and a job for it and a new one, claimed when the first one's caption was there
    first = fill(["/a.jpg"])
    _store(ledger, [Captioned(w, _content("a"), "words") for w in _works(ledger, claim(first), first)], first)
    second = fill(["/b.jpg", "/c.jpg"])
    held = claim(second)
    works = _works(ledger, held, second)
    with ledger.read() as connection:
        known = connection.scalar(select(image.c.id))
    shared = (
        Captioned(Work(**{**vars(works[0]), "image_id": known}), None, None)
        if linked
        else Captioned(works[0], _content("a"), None)
    )
    # When the first job is forgotten, and then the worker stores what it found
    with ledger.write() as connection:
        forget.forget_items(connection, first)
        assert connection.scalar(select(func.count()).select_from(caption)) == 0
    left = _store(ledger, [shared, Captioned(works[1], _content("c"), "other words")], second)
    # Then the worker is told that the unit is not its own any more, and the one picture is due again; the other is done
    assert left == set()
    with ledger.read() as connection:
        states = dict(
            connection.execute(select(file.c.path, item.c.state).join(item, item.c.file_id == file.c.id)).all()
        )
        assert [one.job_id for one in lease.due(connection, "caption")] == [second]
    assert states == {"/b.jpg": "queued", "/c.jpg": "done"}
    # And it gets its caption
    (again,) = _works(ledger, claim(second), second)
    assert not again.captioned
    _store(ledger, [Captioned(again, _content("a"), "words")], second)
    with ledger.read() as connection:
        assert connection.scalar(select(job.c.state).where(job.c.id == second)) == "done"
        assert connection.scalar(select(func.count()).select_from(caption)) == 2


def test_a_content_that_is_just_being_forgotten_is_recorded_anew(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    # Given a content that no file holds
    with ledger.write() as connection:
        (orphan,) = results.images(connection, [_content("a")]).values()
    job_id = fill(["/a.jpg"])
    (work,) = _works(ledger, claim(job_id), job_id)
    begun, stored = threading.Event(), threading.Event()

    def collect() -> None:
        """`gc`, slow: on SQLite a storing worker waits for its end, on PostgreSQL it is in the middle of it."""
        with ledger.write() as connection:
            forget.forget_images(connection, [orphan], keep_edited=True)
            begun.set()
            stored.wait(0.5)

    collecting = threading.Thread(target=collect)
    collecting.start()
    # When a worker meets that content while `gc` takes it out
    begun.wait(10)
    assert _store(ledger, [Captioned(work, _content("a"), "words")], job_id) == {work.lease.unit_id}
    stored.set()
    collecting.join()
    # Then it has its caption
    with ledger.read() as connection:
        row = connection.execute(
            select(file.c.path, caption.c.text).join(caption, caption.c.image_id == file.c.image_id)
        ).one()
    assert tuple(row) == ("/a.jpg", "words")
