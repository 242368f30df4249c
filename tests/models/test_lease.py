"""Leases: nothing is claimed twice, nothing stale is written, nothing that died stays held."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import func, select, text, update

from blipq.models import control, lease, results
from blipq.models.database import Ledger
from blipq.models.lease import Lease
from blipq.models.results import Captioned, Content, Failed, Origin
from blipq.models.schema import caption, item, job, unit

Claim = Callable[..., list[Lease]]
Fill = Callable[..., int]


def _names(count: int, start: int = 0) -> list[str]:
    return [f"/photos/{number:05}.jpg" for number in range(start, start + count)]


def _outcomes(ledger: Ledger, held: list[Lease], job_id: int) -> list[Captioned]:
    with ledger.read() as connection:
        recipe_id = connection.execute(select(job.c.recipe_id).where(job.c.id == job_id)).scalar_one()
        works = results.read_work(connection, held, recipe_id, again=False)
    return [
        Captioned(work, Content(work.path.encode().ljust(32)[-32:], 4, 3, "JPEG"), f"caption of {work.path}", -1.0)
        for work in works
    ]


def _store(ledger: Ledger, outcomes: list[Captioned | Failed]) -> set[int]:
    with ledger.write() as connection:
        return results.store(connection, outcomes, Origin(1, 1, False), 30)


def _state(ledger: Ledger, job_id: int) -> str:
    with ledger.read() as connection:
        return str(connection.execute(select(job.c.state).where(job.c.id == job_id)).scalar_one())


def test_a_job_goes_from_queued_to_done_with_every_picture_counted(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(100))
    assert _state(ledger, job_id) == "queued"
    held = claim(job_id)
    assert _state(ledger, job_id) == "running"
    assert _store(ledger, _outcomes(ledger, held, job_id)) == {one.unit_id for one in held}
    assert _state(ledger, job_id) == "done"
    with ledger.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM results")) == 100
        assert connection.execute(text("SELECT done, failed, remaining FROM jobs")).one() == (100, 0, 0)


def test_what_is_captioned_is_not_queued_again(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    first = fill(_names(10))
    _store(ledger, _outcomes(ledger, claim(first), first))
    second = fill(_names(12))
    with ledger.read() as connection:
        assert connection.scalar(select(func.count()).where(item.c.job_id == second)) == 2
        row = connection.execute(select(job.c.total, job.c.skipped).where(job.c.id == second)).one()
    assert tuple(row) == (12, 10)


def test_another_recipe_queues_all_beside_the_old_captions(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    first = fill(_names(10))
    _store(ledger, _outcomes(ledger, claim(first), first))
    second = fill(_names(10), weights="sha256:11")
    with ledger.read() as connection:
        assert connection.scalar(select(func.count()).where(item.c.job_id == second)) == 10


def test_a_stale_fence_writes_nothing(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    # Given a worker whose lease ran out while it worked
    job_id = fill(_names(8))
    stale = claim(job_id, seconds=-1)
    outcomes = _outcomes(ledger, stale, job_id)
    with ledger.write() as connection:
        assert lease.sweep(connection, "caption") == 1
    # When it writes after all
    held = _store(ledger, outcomes)
    # Then nothing of it is there, and the unit is due again
    assert held == set()
    with ledger.read() as connection:
        assert connection.scalar(select(func.count(caption.c.id))) == 0
        assert [due.job_id for due in lease.due(connection, "caption")] == [job_id]


def test_the_heartbeat_keeps_a_lease_and_finds_a_lost_one(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(16))
    mine, lost = claim(job_id)
    with ledger.write() as connection:
        connection.execute(update(unit).where(unit.c.id == lost.unit_id).values(fence=unit.c.fence + 1))
        assert lease.renew(connection, [mine, lost], 30) == {mine.unit_id}


def test_what_a_dead_worker_held_is_due_at_once_in_halves(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(8))
    claim(job_id)
    with ledger.write() as connection:
        assert lease.expire(connection, 1) == 1
    with ledger.read() as connection:
        rows = connection.execute(select(unit.c.state, unit.c.pictures, unit.c.crashes).order_by(unit.c.id)).all()
    assert [tuple(row) for row in rows] == [("split", 0, 1), ("queued", 4, 1), ("queued", 4, 1)]
    assert len(claim(job_id, alone=False)) == 0, "a suspect is claimed only by a worker that holds nothing else"
    assert len(claim(job_id)) == 1, "and by itself"


def test_a_unit_that_is_handed_back_counts_no_crash(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(8))
    held = claim(job_id)
    with ledger.write() as connection:
        lease.hand_back(connection, held)
    (again,) = claim(job_id)
    assert again.fence != held[0].fence
    assert again.crashes == 0


def test_no_unit_is_claimed_by_two_workers(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(320))
    taken: list[int] = []

    def work() -> None:
        while held := claim(job_id, pictures=8):
            taken.extend(one.unit_id for one in held)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 40


def test_equals_take_turns_and_the_urgent_go_first(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    first, second = fill(_names(64)), fill(_names(64, 100))
    urgent = fill(_names(1, 500), priority=10)
    order = []
    for _ in range(5):
        with ledger.read() as connection:
            chosen = lease.due(connection, "caption")[0].job_id
        claim(chosen, pictures=8)
        order.append(chosen)
    assert order == [urgent, first, second, first, second]


def test_a_failure_is_named_and_retried(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(8))
    outcomes: list[Captioned | Failed] = list(_outcomes(ledger, claim(job_id), job_id))
    outcomes[3] = Failed(outcomes[3].work, "corrupt", "a broken JPEG file")
    _store(ledger, outcomes)
    with ledger.read() as connection:
        row = connection.execute(text("SELECT path, kind, message, attempts FROM failures")).one()
    assert tuple(row) == ("/photos/00003.jpg", "corrupt", "a broken JPEG file", 1)
    with ledger.write() as connection:
        assert control.retry(connection, job_id) == 1
    assert _state(ledger, job_id) == "queued"
    again = claim(job_id)
    assert [outcome.work.path for outcome in _outcomes(ledger, again, job_id)] == ["/photos/00003.jpg"]
    _store(ledger, list(_outcomes(ledger, again, job_id)))
    with ledger.read() as connection:
        assert connection.execute(text("SELECT done, failed, remaining FROM jobs")).one() == (8, 0, 0)
        assert connection.scalar(text("SELECT count(*) FROM failures")) == 0


def test_cancel_takes_the_fence_away_and_retry_all_goes_on(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(_names(100))
    held = claim(job_id, pictures=8)
    outcomes = _outcomes(ledger, held, job_id)
    with ledger.write() as connection:
        assert control.cancel(connection, job_id) == 100
    assert _store(ledger, outcomes) == set()
    with ledger.read() as connection:
        assert lease.due(connection, "caption") == []
        assert connection.scalar(text("SELECT remaining FROM jobs")) == 0
    with ledger.write() as connection:
        assert control.retry(connection, job_id) == 0
        assert control.retry(connection, job_id, everything=True) == 100
    assert _state(ledger, job_id) == "queued"


def test_a_paused_queue_hands_out_nothing(ledger: Ledger, fill: Fill) -> None:
    fill(_names(3))
    for paused, due in ((True, 0), (False, 1)):
        with ledger.write() as connection:
            control.set_paused(connection, "caption", paused)
        with ledger.read() as connection:
            assert len(lease.due(connection, "caption")) == due


def test_a_job_of_nothing_new_is_done_at_once(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    first = fill(_names(3))
    _store(ledger, _outcomes(ledger, claim(first), first))
    assert _state(ledger, fill(_names(3))) == "done"


def test_a_photo_that_is_named_twice_is_one(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(["/a.jpg", "/b.jpg", "/a.jpg"])
    with ledger.read() as connection:
        assert connection.execute(text("SELECT total, remaining FROM jobs")).one() == (2, 2)
    assert len(_outcomes(ledger, claim(job_id), job_id)) == 2


def test_equal_contents_share_a_caption(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(["/a.jpg", "/b.jpg"])
    outcomes = _outcomes(ledger, claim(job_id), job_id)
    twin = Captioned(outcomes[1].work, outcomes[0].content, None)
    _store(ledger, [outcomes[0], twin])
    with ledger.read() as connection:
        rows = connection.execute(text("SELECT path, caption FROM results ORDER BY path")).all()
    assert [tuple(row) for row in rows] == [("/a.jpg", "caption of /a.jpg"), ("/b.jpg", "caption of /a.jpg")]


def test_a_file_that_changed_meanwhile_is_not_linked_to_what_it_held(ledger: Ledger, fill: Fill, claim: Claim) -> None:
    job_id = fill(["/a.jpg"])
    outcomes = _outcomes(ledger, claim(job_id), job_id)
    with ledger.write() as connection:
        connection.execute(text("UPDATE file SET mtime_ns = 2"))
    _store(ledger, list(outcomes))
    with ledger.read() as connection:
        assert connection.scalar(text("SELECT image_id FROM file")) is None
        assert connection.scalar(select(func.count(caption.c.id))) == 1


@pytest.mark.parametrize("again", [False, True])
def test_replace_writes_over_and_fill_does_not(ledger: Ledger, fill: Fill, claim: Claim, again: bool) -> None:
    first = fill(["/a.jpg"])
    (outcome,) = _outcomes(ledger, claim(first), first)
    _store(ledger, [outcome])
    second = fill(["/a.jpg"], again=True)
    (held,) = claim(second)
    with ledger.read() as connection:
        (work,) = results.read_work(connection, [held], 1, again=True)
    with ledger.write() as connection:
        results.store(connection, [Captioned(work, outcome.content, "another", -2.0)], Origin(1, 1, again), 30)
    with ledger.read() as connection:
        assert connection.scalar(text("SELECT caption FROM results")) == ("another" if again else "caption of /a.jpg")
