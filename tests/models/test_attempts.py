"""Attempts at a job that came to nothing: three end it with the reason, and no death counts against a stranger."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, func, insert, select, update

from blipq.models import attempts, fleet, lease
from blipq.models.database import Ledger
from blipq.models.schema import job, unit, worker


@pytest.fixture
def connection(ledger: Ledger) -> Connection:
    with ledger.write() as opened:
        yield opened


@pytest.fixture
def queued(connection: Connection) -> Callable[..., int]:
    """Queues a job of some units of one picture each."""

    def one(units: int = 1, kind: str = "caption") -> int:
        values = {"kind": kind, "state": "queued", "source": "x", "model": "m", "parameters": "{}", "priority": 0}
        job_id = int(connection.execute(insert(job).values(values).returning(job.c.id)).scalar_one())
        for _ in range(units):
            connection.execute(insert(unit).values(job_id=job_id, queue=kind, state="queued", pictures=1))
        return job_id

    return one


def _worker(connection: Connection) -> int:
    return fleet.register(connection, queue="caption", device="cpu", versions="tests")


def _row(connection: Connection, job_id: int) -> tuple[str, int, str | None]:
    found = connection.execute(select(job.c.state, job.c.attempts, job.c.note).where(job.c.id == job_id)).one()
    return found.state, found.attempts, found.note


def _deaths(connection: Connection, job_id: int) -> int:
    return int(connection.execute(select(job.c.deaths).where(job.c.id == job_id)).scalar_one())


def _wait_over(connection: Connection) -> None:
    connection.execute(update(job).values(run_after=0))


def test_a_job_waits_twice_and_fails_at_the_third_attempt_with_the_reason(
    connection: Connection, queued: Callable[..., int]
) -> None:
    job_id = queued()
    for tried in (1, 2):
        assert attempts.failed_to_load(connection, job_id, "KeyError: 'x'")
        assert _row(connection, job_id) == ("queued", tried, "the model cannot be used: KeyError: 'x'; tried again")
        assert not lease.due(connection, "caption")
        _wait_over(connection)
    assert attempts.failed_to_load(connection, job_id, "KeyError: 'x'")
    state, counted, note = _row(connection, job_id)
    assert (state, counted) == ("failed", 0)
    assert (note or "").startswith("the model cannot be used: KeyError: 'x' (3 attempts): mend it")
    # And a job that is over is left alone
    assert not attempts.failed_to_load(connection, job_id, "another")
    assert _row(connection, job_id)[2] == note


def test_others_have_their_turn_before_a_job_that_failed(connection: Connection, queued: Callable[..., int]) -> None:
    bad, other = queued(), queued()
    assert attempts.failed_to_load(connection, bad, "KeyError: 'x'")
    _wait_over(connection)
    assert [due.job_id for due in lease.due(connection, "caption")] == [other, bad]


def test_several_workers_that_fail_at_once_are_one_attempt(connection: Connection, queued: Callable[..., int]) -> None:
    job_id = queued()
    counted = [attempts.failed_to_load(connection, job_id, "OSError: stale") for _ in range(8)]
    assert counted == [True] + [False] * 7
    assert _row(connection, job_id)[:2] == ("queued", 1)


def test_a_job_that_another_worker_does_is_not_blamed_for_this_one(
    connection: Connection, queued: Callable[..., int]
) -> None:
    job_id, able = queued(units=2), _worker(connection)
    assert len(lease.claim(connection, able, job_id, 30, 1, alone=True)) == 1
    assert not attempts.failed_to_load(connection, job_id, "no such GPU")
    assert _row(connection, job_id)[:2] == ("running", 0)


def test_a_process_that_dies_while_it_loads_counts_against_that_job_alone(
    connection: Connection, queued: Callable[..., int]
) -> None:
    guilty, other = queued(), queued()
    for tried in (1, 2, 3):
        loader, idle = _worker(connection), _worker(connection)
        attempts.loads(connection, loader, guilty, "m")
        assert attempts.bury(connection, idle, "was ended by SIGKILL", ()) == 0
        assert attempts.bury(connection, loader, "was ended by SIGKILL", ()) == 1
        assert connection.scalar(select(func.count(worker.c.loading_job))) == 0
        assert _row(connection, guilty)[0] == ("queued" if tried < 3 else "failed")
        _wait_over(connection)
    assert _row(connection, other) == ("queued", 0, None)
    assert "the process that loads it was ended by SIGKILL (3 attempts)" in (_row(connection, guilty)[2] or "")


def test_workers_that_merely_load_or_were_told_to_end_count_nothing(
    connection: Connection, queued: Callable[..., int]
) -> None:
    job_id = queued()
    loaders = [_worker(connection) for _ in range(8)]
    for loader in loaders:
        attempts.loads(connection, loader, job_id, "m")
    for loader in loaders[:4]:
        attempts.loaded(connection, loader)
        assert attempts.bury(connection, loader, "was ended by SIGKILL", ()) == 0
    for loader in loaders[4:]:
        assert attempts.bury(connection, loader, None, ()) == 0
    assert _row(connection, job_id) == ("queued", 0, None)


def test_a_job_over_every_batch_of_which_the_process_dies_ends(
    connection: Connection, queued: Callable[..., int]
) -> None:
    job_id = queued(units=64)
    for died in range(1, attempts.DEATHS + 1):
        unlucky = _worker(connection)
        held = lease.claim(connection, unlucky, job_id, 30, 4, alone=True)
        assert attempts.bury(connection, unlucky, "was ended by SIGSEGV", [one.unit_id for one in held])
        if died == 3:  # something came of it
            attempts.proven(connection, job_id)
    assert _deaths(connection, job_id) == attempts.DEATHS - 3
    for _ in range(3):
        unlucky = _worker(connection)
        held = lease.claim(connection, unlucky, job_id, 30, 4, alone=True)
        attempts.bury(connection, unlucky, "was ended by SIGSEGV", [one.unit_id for one in held])
    state, counted, note = _row(connection, job_id)
    assert (state, counted) == ("failed", 0)
    assert "the model's process was ended by SIGSEGV over every batch" in (note or "")


def test_what_a_dead_worker_held_is_due_again_whatever_it_was_about(
    connection: Connection, queued: Callable[..., int]
) -> None:
    held, loading = queued(units=2), queued()
    dead = _worker(connection)
    assert len(lease.claim(connection, dead, held, 30, 2, alone=True)) == 2
    attempts.loads(connection, dead, loading, "m")
    attempts.bury(connection, dead, "was ended by SIGKILL", ())
    # Unharmed: none of it was on the model
    assert {due.job_id for due in lease.due(connection, "caption")} == {held}
    assert connection.scalar(select(func.sum(unit.c.crashes))) == 0
    assert (_row(connection, held)[1], _row(connection, loading)[1]) == (0, 1)


def test_a_model_that_anybody_made_ready_can_be_made_ready(connection: Connection, queued: Callable[..., int]) -> None:
    # Given a job at which two attempts failed, and another worker that makes the same model ready, for another job
    unlucky, other = queued(), queued()
    for _ in range(2):
        assert attempts.failed_to_load(connection, unlucky, "KeyError: 'x'")
        _wait_over(connection)
    able = _worker(connection)
    attempts.loads(connection, able, other, "m")
    attempts.loaded(connection, able, "m")
    # Then it takes three more to give the first one up
    for tried in (1, 2):
        assert attempts.failed_to_load(connection, unlucky, "KeyError: 'x'")
        assert _row(connection, unlucky)[:2] == ("queued", tried)
        _wait_over(connection)


def test_deaths_over_pictures_are_no_attempts_to_load(connection: Connection, queued: Callable[..., int]) -> None:
    job_id = queued(units=8)
    for _ in range(3):
        unlucky = _worker(connection)
        held = lease.claim(connection, unlucky, job_id, 30, 1, alone=True)
        attempts.bury(connection, unlucky, "was ended by SIGKILL", [one.unit_id for one in held])
    assert _deaths(connection, job_id) == 3
    assert attempts.failed_to_load(connection, job_id, "KeyError: 'x'")
    assert _row(connection, job_id)[1] == 1
    assert _row(connection, job_id)[0] != "failed"
