"""A worker's standing: what it holds stays its own while it beats, and is noticed when it is lost."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from blipq.models import fleet, lease
from blipq.models.database import Ledger
from blipq.models.migrate import ensure_schema
from blipq.settings import Settings
from blipq.worker.lock import DaemonLock
from blipq.worker.sight import Sight
from blipq.worker.standing import Standing


@pytest.fixture
def ledger(home: Path) -> Ledger:
    made = Ledger(f"sqlite:///{home / 'blipq.db'}")
    home.mkdir(mode=0o700)
    ensure_schema(made)
    with made.write() as connection:
        connection.execute(
            text(
                """INSERT INTO job (kind, state, source, model, parameters, priority, served, run_after, total, skipped,
                                    created_at) VALUES ('caption', 'queued', 'x', 'm', '{}', 0, 0, 0, 2, 0, 0)"""
            )
        )
        for _ in range(2):
            connection.execute(
                text(
                    """INSERT INTO unit (job_id, queue, state, fence, crashes, run_after, pictures, done, failed)
                       VALUES (1, 'caption', 'queued', 0, 0, 0, 1, 0, 0)"""
                )
            )
    return made


def _standing(ledger: Ledger, home: Path, seconds: float = 2.0, sight: Sight | None = None) -> Standing:
    return Standing(ledger, Settings(home=home, lease=seconds), "caption", "cpu", "tests", sight=sight)


def _claim(ledger: Ledger, standing: Standing, seconds: float = 2.0) -> list[lease.Lease]:
    with ledger.write() as connection:
        return lease.claim(connection, standing.worker_id, 1, seconds, 2, alone=True)


def test_a_heartbeat_keeps_what_is_held_for_longer_than_its_lease(ledger: Ledger, home: Path) -> None:
    standing = _standing(ledger, home)
    standing.hold(_claim(ledger, standing))
    standing.start()
    time.sleep(3)
    with ledger.write() as connection:
        assert lease.sweep(connection, "caption") == 0
    standing.end()


def test_a_stopping_worker_keeps_its_last_batch_until_it_ends(ledger: Ledger, home: Path) -> None:
    # Given a worker that was asked to stop in the middle of a batch longer than its lease
    standing = _standing(ledger, home)
    standing.hold(_claim(ledger, standing))
    standing.start()
    standing.stopping.set()
    time.sleep(3)
    # Then nobody takes that batch away
    with ledger.write() as connection:
        assert lease.sweep(connection, "caption") == 0
    standing.end()


def test_what_was_taken_away_is_noticed_at_the_next_heartbeat(ledger: Ledger, home: Path) -> None:
    standing = _standing(ledger, home)
    held = _claim(ledger, standing)
    standing.hold(held)
    with ledger.write() as connection:
        lease.expire(connection, standing.worker_id)
    standing.beat()
    assert standing.lost() == {one.unit_id for one in held}
    standing.let_go(standing.lost())
    assert not standing.lost()


def test_a_sweeper_frees_what_another_worker_let_lapse(ledger: Ledger, home: Path) -> None:
    # Given a worker that has written to the ledger for longer than a lease
    seconds = itertools.count(step=0.5)
    dead, alive = _standing(ledger, home), _standing(ledger, home, sight=Sight(2.0, clock=lambda: next(seconds)))
    for _ in range(16):
        alive.beat()
    # When it finds what another did not renew
    _claim(ledger, dead, seconds=0.0)
    time.sleep(0.05)
    alive.sweep()
    # Then that is due again, as a lapse
    with ledger.read() as connection:
        rows = connection.execute(text("SELECT state, worker_id, crashes, lapses FROM unit ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [("queued", None, 0, 1)] * 2


def test_a_sweeper_leaves_what_lapsed_while_nobody_could_write(ledger: Ledger, home: Path) -> None:
    # Given two workers, one with units, and a database that another program locks for longer than a lease
    now = 100.0
    owner, other = _standing(ledger, home), _standing(ledger, home, sight=Sight(2.0, clock=lambda: now))
    for _ in range(16):
        now += 0.5
        other.beat()
    held = _claim(ledger, owner, seconds=0.0)
    owner.hold(held)
    now += 3.0
    time.sleep(0.05)
    # When it is back, and the one sweeps before the other has renewed
    other.sweep()
    other.beat()
    other.sweep()
    # Then the other, who lives, keeps them: nobody took them
    owner.beat()
    assert not owner.lost()
    with ledger.read() as connection:
        rows = connection.execute(text("SELECT state, worker_id, crashes, lapses FROM unit")).all()
    assert [tuple(row) for row in rows] == [("running", owner.worker_id, 0, 0)] * 2


def test_a_lease_that_ends_in_the_far_future_is_a_clock_that_was_put_back(ledger: Ledger, home: Path) -> None:
    standing = _standing(ledger, home)
    _claim(ledger, standing, seconds=2 * lease.FAR_SECONDS)
    with ledger.write() as connection:
        assert lease.sweep(connection, "caption") == 2


def test_release_gives_back_unharmed_whatever_a_worker_has(ledger: Ledger, home: Path) -> None:
    standing = _standing(ledger, home)
    _claim(ledger, standing)
    with ledger.write() as connection:
        lease.release(connection, standing.worker_id)
        rows = connection.execute(text("SELECT state, worker_id, crashes FROM unit")).all()
    assert [tuple(row) for row in rows] == [("queued", None, 0)] * 2


def test_a_halted_worker_says_so_once_and_its_changes_come_later(
    ledger: Ledger, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    standing = _standing(ledger, home)
    standing.show(model="m", state="running")
    # Given a database that is not there for a while
    ledger.close()
    (home / "blipq.db").rename(home / "away")
    (home / "blipq.db").mkdir()
    standing.beat()
    standing.beat()
    assert len([r for r in caplog.records if "halted" in r.message]) == 1
    # When it is back
    (home / "blipq.db").rmdir()
    (home / "away").rename(home / "blipq.db")
    standing.beat()
    with ledger.read() as connection:
        row = connection.execute(text("SELECT model, state FROM worker")).one()
    assert tuple(row) == ("m", "running")
    assert fleet.ALIVE_SECONDS > 2


def test_who_glances_at_the_lock_keeps_nobody_from_taking_it(home: Path) -> None:
    over = threading.Event()

    def glance() -> None:
        while not over.is_set():
            DaemonLock(home).holder()
            time.sleep(0.002)

    glancing = [threading.Thread(target=glance) for _ in range(4)]
    lock = DaemonLock(home)
    assert lock.take("1")
    lock.release()
    for thread in glancing:
        thread.start()
    try:
        for _ in range(10):
            assert lock.take("1")
            assert not DaemonLock(home).take("2")
            lock.release()
    finally:
        over.set()
        for thread in glancing:
            thread.join()


def test_a_job_whose_enqueue_died_ends_with_what_it_found(ledger: Ledger, home: Path) -> None:
    # Given a job that nobody reads the folder of any more, and one whose folder is just being read
    standing = _standing(ledger, home)
    with ledger.write() as connection:
        connection.execute(text("DELETE FROM unit"))
        connection.execute(text("UPDATE job SET state = 'scanning', scanned_at = 0"))
    standing.sweep()
    with ledger.write() as connection:
        assert connection.scalar(text("SELECT state FROM job")) == "done"
        now = "(julianday('now') - 2440587.5) * 86400.0"
        connection.execute(text(f"UPDATE job SET state = 'scanning', scanned_at = {now}"))
    # Then only the first is closed
    standing.sweep()
    with ledger.read() as connection:
        assert connection.scalar(text("SELECT state FROM job")) == "scanning"
