"""Failed starts of workers: who hears of them, and when they are over."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, insert, select, update

from blipq.models import fleet, starts, status
from blipq.models.database import Ledger
from blipq.models.schema import worker


@pytest.fixture
def connection(ledger: Ledger) -> Connection:
    with ledger.write() as opened:
        yield opened


def _fail(connection: Connection, device: str = "cpu", reason: str = "no torch") -> None:
    starts.failed(connection, queue="caption", device=device, reason=reason)


def test_the_last_three_of_a_device_are_kept_and_the_last_is_shown(connection: Connection) -> None:
    for number in range(5):
        _fail(connection, reason=f"reason {number}")
    _fail(connection, device="cuda:1")
    assert len(connection.scalars(select(worker.c.id)).all()) == 4
    shown = [(row["device"], row["state"], row["note"]) for row in status.workers(connection)]
    assert shown == [("cpu", "failed", "reason 4"), ("cuda:1", "failed", "no torch")]
    assert status.living(connection) == []
    (found,) = starts.troubles(connection)
    assert (found.queue, found.reason, found.starts, found.repeated) == ("caption", "reason 4", 3, True)
    assert str(found) == "the caption worker cannot begin: reason 4"


def test_a_worker_elsewhere_that_lives_alarms_nobody(connection: Connection) -> None:
    for _ in range(3):
        _fail(connection)
    values = {"name": "w", "host": "elsewhere", "pid": 1, "queue": "caption", "device": "cpu", "versions": "t"}
    other = connection.execute(insert(worker).values(**values, state="idle").returning(worker.c.id)).scalar_one()
    assert starts.troubles(connection) == []
    # Until it is lost
    connection.execute(update(worker).where(worker.c.id == other).values(seen_at=0))
    assert starts.trouble(connection, "caption") is not None
    assert starts.trouble(connection, "train") is None


def test_a_process_that_was_just_started_where_others_failed_is_no_proof(connection: Connection) -> None:
    for _ in range(3):
        _fail(connection)
    mine = fleet.register(connection, queue="caption", device="cpu", versions="t")
    assert len(starts.troubles(connection)) == 1
    # With a model it works
    fleet.seen(connection, mine, state="running", model="m")
    assert starts.troubles(connection) == []


def test_failures_end_with_a_worker_that_begins_and_with_a_new_supervisor(connection: Connection) -> None:
    _fail(connection)
    _fail(connection, device="cuda:1")
    starts.begun(connection, "caption", "cpu")
    assert [row["device"] for row in status.workers(connection)] == ["cuda:1"]
    starts.begun(connection, "train")
    assert len(starts.troubles(connection)) == 1
    starts.begun(connection, "caption")
    assert status.workers(connection) == []


def test_a_process_that_has_its_row_fails_in_it_and_is_not_buried_again(connection: Connection) -> None:
    mine = fleet.register(connection, queue="caption", device="auto", versions="t")
    starts.failed(connection, queue="caption", device="cpu", reason="no torch", worker_id=mine)
    fleet.died(connection, mine)
    assert connection.execute(select(worker.c.state, worker.c.note)).all() == [("failed", "no torch")]
