"""What people say of a job while others write of it: one of the two comes first, and both are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text, update

from blipq.models import control, forget, intake, lease, training, upload
from blipq.models.control import NoSuchJob
from blipq.models.database import Ledger
from blipq.models.forget import StillWanted
from blipq.models.intake import Found, JobCancelled
from blipq.models.lease import Lease
from blipq.models.schema import alias, item, job, unit
from blipq.models.training import RunError

Claim = Callable[..., list[Lease]]
Fill = Callable[..., int]
Act = Callable[[Connection], Any]
Beside = Callable[[Act, Act], tuple[Any, Any]]
Make = Callable[..., Any]


def _names(count: int) -> list[str]:
    return [f"/photos/{number:04}.jpg" for number in range(count)]


def _cancel(job_id: int) -> Act:
    return lambda connection: control.cancel(connection, job_id)


def _retry(job_id: int, everything: bool = False) -> Act:
    return lambda connection: control.retry(connection, job_id, everything=everything)


def _jobs(ledger: Ledger) -> list[tuple[Any, ...]]:
    """State, done, failed and remaining of each job."""
    with ledger.read() as connection:
        rows = connection.execute(text("SELECT state, done, failed, remaining FROM jobs ORDER BY id"))
        return [tuple(row) for row in rows]


def _due(ledger: Ledger) -> list[int]:
    with ledger.read() as connection:
        return [due.job_id for due in lease.due(connection, "caption")]


def _half_done(fill: Fill, claim: Claim, outcomes: Make, store: Make, ledger: Ledger) -> tuple[int, list[Any]]:
    """A job of 8 of which a worker has stored a failure and three captions; what it stores next, the last four."""
    job_id = fill(_names(8))
    batch = outcomes(claim(job_id), job_id, failed=[0])
    ledger.transact(store(batch[:4]))
    return job_id, batch[4:]


def test_retry_beside_the_last_batch_takes_up_what_failed(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id, last = _half_done(fill, claim, outcomes, store, ledger)
    assert beside(store(last), _retry(job_id))[1] == 1
    assert _jobs(ledger) == [("queued", 7, 0, 1)]
    assert _due(ledger) == [job_id]
    ledger.transact(store(outcomes(claim(job_id), job_id)))
    assert _jobs(ledger) == [("done", 8, 0, 0)]


def test_retry_beside_a_batch_that_fails_takes_up_those_failures_too(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id = fill(_names(8))
    batch = outcomes(claim(job_id), job_id, failed=range(8))
    assert beside(store(batch[:5]), _retry(job_id))[1] == 5
    ledger.transact(store(batch[5:]))
    assert _jobs(ledger) == [("running", 0, 3, 5)]


def test_the_last_batch_beside_retry_ends_nothing_that_is_queued_again(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id, last = _half_done(fill, claim, outcomes, store, ledger)
    assert beside(_retry(job_id), store(last))[0] == 1
    assert _jobs(ledger) == [("running", 7, 0, 1)]
    assert _due(ledger) == [job_id]


def test_retry_twice_at_once_queues_once(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id, last = _half_done(fill, claim, outcomes, store, ledger)
    ledger.transact(store(last))
    assert beside(_retry(job_id), _retry(job_id)) == (1, 0)
    assert _jobs(ledger) == [("queued", 7, 0, 1)]


@pytest.mark.parametrize("everything", [False, True])
def test_retry_says_once_what_it_queues(ledger: Ledger, fill: Fill, beside: Beside, everything: bool) -> None:
    job_id = fill(_names(8))
    ledger.transact(_cancel(job_id))
    wanted = (8, 0) if everything else (0, 0)
    assert beside(_retry(job_id, everything), _retry(job_id, everything)) == wanted


def test_retry_says_of_a_cancelled_job_all_that_it_goes_on_with(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make
) -> None:
    job_id, _ = _half_done(fill, claim, outcomes, store, ledger)
    assert ledger.transact(_cancel(job_id)) == 4
    assert ledger.transact(_retry(job_id)) == 5
    assert _jobs(ledger) == [("queued", 3, 0, 5)]


def test_what_is_claimed_while_its_job_is_cancelled_is_not_written(
    ledger: Ledger, fill: Fill, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id = fill(_names(8))
    held, left = beside(
        lambda connection: lease.claim(connection, _worker(connection), job_id, 30, 64, alone=True), _cancel(job_id)
    )
    assert left == 8
    assert ledger.transact(store(outcomes(held, job_id))) == set()
    assert _jobs(ledger) == [("cancelled", 0, 0, 0)]


def _worker(connection: Connection) -> int:
    from blipq.models import fleet

    return fleet.register(connection, queue="caption", device="cpu", versions="none")


@pytest.mark.parametrize("last", [False, True])
def test_cancel_beside_a_batch_counts_what_is_left_of_it(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside, last: bool
) -> None:
    job_id = fill(_names(8))
    batch = outcomes(claim(job_id), job_id)
    stored = batch if last else batch[:5]
    assert beside(store(stored), _cancel(job_id))[1] == 8 - len(stored)
    assert _jobs(ledger) == [("done" if last else "cancelled", len(stored), 0, 0)]
    assert ledger.transact(store(batch)) == set()


def test_a_batch_beside_cancel_is_not_written(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id = fill(_names(8))
    batch = outcomes(claim(job_id), job_id)
    assert beside(_cancel(job_id), store(batch)) == (8, set())
    assert _jobs(ledger) == [("cancelled", 0, 0, 0)]


def test_cancel_and_retry_beside_each_other_come_one_after_the_other(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id, last = _half_done(fill, claim, outcomes, store, ledger)
    ledger.transact(store(last))
    assert beside(_retry(job_id), _cancel(job_id)) == (1, 1)
    assert _jobs(ledger) == [("cancelled", 7, 0, 0)]
    assert beside(_retry(job_id, True), _cancel(job_id)) == (1, 1)
    ledger.transact(_retry(job_id, True))
    assert beside(_cancel(job_id), _retry(job_id, True)) == (1, 1)
    assert _jobs(ledger) == [("queued", 7, 0, 1)]


def test_forgetting_beside_retry_takes_nothing_from_a_job_that_is_open_again(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id, last = _half_done(fill, claim, outcomes, store, ledger)
    ledger.transact(store(last))
    with ledger.read() as connection:
        files = list(connection.scalars(select(item.c.file_id)))

    def forget_job(connection: Connection) -> None:
        forget.check_job(connection, job_id)
        forget.forget_items(connection, job_id)

    assert isinstance(beside(_retry(job_id), forget_job)[1], StillWanted)
    assert isinstance(beside(_retry(job_id), lambda c: forget.forget_files(c, files))[1], StillWanted)
    ledger.transact(store(outcomes(claim(job_id), job_id)))
    assert _jobs(ledger) == [("done", 8, 0, 0)]


@pytest.mark.parametrize("whole", [False, True])
def test_retry_beside_forgetting_takes_up_what_is_left(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, beside: Beside, whole: bool
) -> None:
    # Given a cancelled job of 8 photos, of which a half or all are being forgotten
    job_id = fill(_names(8))
    ledger.transact(_cancel(job_id))

    def forget_some(connection: Connection) -> None:
        if whole:
            forget.check_job(connection, job_id)
            forget.forget_items(connection, job_id)
            forget.forget_job(connection, job_id)
        else:
            files = connection.scalars(select(item.c.file_id).order_by(item.c.id).limit(4)).all()
            forget.forget_files(connection, files)

    # When all is retried meanwhile
    _, again = beside(forget_some, _retry(job_id, True))
    # Then it is what is there, and can be claimed
    if whole:
        assert isinstance(again, NoSuchJob)
    else:
        assert again == 4
        assert len(outcomes(claim(job_id), job_id)) == 4


def test_a_job_that_is_half_forgotten_counts_what_is_left(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make
) -> None:
    # Given a cancelled job, of which one chunk is forgotten
    job_id = fill(_names(forget.CHUNK + 8))
    ledger.transact(_cancel(job_id))
    with ledger.write() as connection:
        forget.check_job(connection, job_id)
        forget.forget_items(connection, job_id)
    # When the rest is retried
    assert ledger.transact(_retry(job_id, True)) == 8
    # Then it is done, and the job ends
    ledger.transact(store(outcomes(claim(job_id), job_id)))
    assert _jobs(ledger) == [("done", 8, 0, 0)]


def test_a_retried_job_is_not_cancelled_for_a_caller_who_went_away(
    ledger: Ledger, fill: Fill, claim: Claim, outcomes: Make, store: Make, beside: Beside
) -> None:
    job_id = fill(_names(1))
    overdue = update(job).values(deadline=1.0)
    ledger.transact(lambda connection: connection.execute(overdue))

    def cancel_and_retry(connection: Connection) -> int:
        control.cancel(connection, job_id)
        return control.retry(connection, job_id, everything=True)

    assert beside(cancel_and_retry, control.cancel_overdue)[0] == 1
    assert _jobs(ledger) == [("queued", 0, 0, 1)]
    ledger.transact(lambda connection: connection.execute(overdue))
    batch = outcomes(claim(job_id), job_id)
    beside(store(batch), control.cancel_overdue)
    assert _jobs(ledger) == [("done", 1, 0, 0)]


def test_a_job_that_is_cancelled_while_its_worker_finds_it_has_to_wait_says_nothing_of_waiting(
    ledger: Ledger, fill: Fill, beside: Beside
) -> None:
    job_id = fill(_names(1))
    beside(_cancel(job_id), lambda connection: lease.postpone(connection, job_id, 30, "no memory for the model"))
    with ledger.read() as connection:
        assert connection.execute(select(job.c.note, job.c.run_after)).one() == (None, 0)


def _scanning(connection: Connection) -> int:
    """A job whose folder nobody has read on for long."""
    job_id = intake.open_job(
        connection, kind="caption", source="x", model="m", recipe_id=None, parameters={}, priority=0
    )
    connection.execute(update(job).values(scanned_at=1.0))
    return job_id


def _take_in(job_id: int) -> Act:
    return lambda c: intake.take_in(c, job_id, None, [Found("/a.jpg", 1, 1)], again=False, so_far=0).queued


def test_an_enqueue_that_is_slow_is_not_closed_while_it_goes_on(ledger: Ledger, beside: Beside) -> None:
    job_id = ledger.transact(_scanning)
    assert beside(_take_in(job_id), control.close_abandoned) == (1, [])
    assert _jobs(ledger) == [("scanning", 0, 0, 1)]


def test_an_enqueue_whose_job_was_closed_says_so(ledger: Ledger, beside: Beside) -> None:
    job_id = ledger.transact(_scanning)
    closed, error = beside(control.close_abandoned, _take_in(job_id))
    assert closed == [job_id]
    assert isinstance(error, JobCancelled)
    assert "was closed, as nothing was heard of its folder for 10 minutes: enqueue it again" in str(error)
    assert _jobs(ledger) == [("done", 0, 0, 0)]


def _run(connection: Connection) -> training.Run:
    made = training.enqueue(connection, base="demo", weights="sha256:0", data="/data", plan={}, priority=0)
    control.cancel(connection, made.job_id)
    return made


def test_a_run_goes_on_once(ledger: Ledger, beside: Beside) -> None:
    run = ledger.transact(_run)
    first, second = beside(
        lambda connection: training.reopen(connection, run.id, {"epochs": 2}),
        lambda connection: training.reopen(connection, run.id, {"epochs": 9}),
    )
    assert first.plan == {"epochs": 2}
    assert isinstance(second, RunError)
    ledger.transact(_cancel(run.job_id))
    assert beside(_retry(run.job_id), _retry(run.job_id)) == (1, 0)


def test_a_run_that_ends_just_now_is_gone_on_with(ledger: Ledger, beside: Beside) -> None:
    # Given a run whose worker writes its end
    with ledger.write() as connection:
        run = training.enqueue(connection, base="demo", weights="sha256:0", data="/data", plan={}, priority=0)
        worker_id = _worker(connection)
        lease.claim(connection, worker_id, run.job_id, 30, 1, alone=True)

    def end(connection: Connection) -> None:
        lease.count(connection, {run.unit_id: (1, 0)})

    # When a person lets it go on meanwhile
    again = beside(end, lambda connection: training.reopen(connection, run.id, {"epochs": 9}))[1]
    # Then it is queued as a whole
    assert again.plan == {"epochs": 9}
    assert _jobs(ledger) == [("queued", 0, 0, 1)]
    with ledger.read() as connection:
        assert connection.scalar(select(unit.c.state)) == "queued"


def test_a_name_that_two_promote_at_once_is_the_second_ones(ledger: Ledger, beside: Beside) -> None:
    beside(
        lambda connection: training.promote(connection, "best", model="run:1@1", weights="sha256:1"),
        lambda connection: training.promote(connection, "best", model="run:2@1", weights="sha256:2"),
    )
    with ledger.read() as connection:
        assert connection.scalars(select(alias.c.model)).all() == ["run:2@1"]


def test_a_run_that_is_being_promoted_is_not_forgotten(ledger: Ledger, beside: Beside) -> None:
    run = ledger.transact(_run)

    def promote(connection: Connection) -> None:
        training.lock(connection, run.id)
        training.promote(connection, "best", model=f"run:{run.id}@1", weights="sha256:1")

    assert isinstance(beside(promote, lambda c: forget.check_job(c, run.job_id))[1], StillWanted)


def test_a_picture_that_is_tried_again_is_not_forgotten_with_its_answer(ledger: Ledger, beside: Beside) -> None:
    received = ledger.transact(
        lambda connection: upload.receive(
            connection, b"bytes", "a.jpg", model="demo", recipe_id=None, parameters={}, deadline_in=60
        )
    )
    ledger.transact(_cancel(received.job_id))
    beside(_retry(received.job_id, True), lambda connection: upload.forget(connection, [received.job_id]))
    with ledger.read() as connection:
        assert connection.scalar(select(func.count(item.c.id))) == 1
    ledger.transact(_cancel(received.job_id))
    forget_it: Act = lambda connection: upload.forget(connection, [received.job_id])  # noqa: E731
    assert beside(forget_it, forget_it) == (None, None)
    assert _jobs(ledger) == []
