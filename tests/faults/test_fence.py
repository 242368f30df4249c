"""A worker that was thought dead writes nothing any more."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from conftest import PostgresServer
from house import LEASE, House, long_run, signal_to, until
from invariants import check, watch_fences


def _late_writer(house: House) -> None:
    # Given a worker that froze with a picture on its model
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint([1], "one"))
    until(lambda: house.runs()[1] == 1, 30, "the first run")
    (first,) = house.workers()
    signal_to(first, signal.SIGSTOP)
    (stale,) = house.sql("SELECT worker_id, fence FROM unit")
    # And another worker that takes the unit over when the lease has run out
    house.supervise(beside=True)
    until(lambda: house.runs()[1] == 2, LEASE + 30, "the second run")
    (owner,) = house.sql("SELECT worker_id, fence FROM unit WHERE state = 'running'")
    assert owner.worker_id != stale.worker_id
    assert owner.fence != stale.fence
    # When the first one wakes up and would write
    signal_to(first, signal.SIGCONT)
    # Then only the second one's caption stands
    house.wait_done(30)
    time.sleep(1.5)
    check(house, repeats_allowed=1)
    (writer,) = house.sql("SELECT worker_id FROM caption")
    assert writer.worker_id == owner.worker_id


def test_a_stale_fence_writes_nothing_on_sqlite(build: Callable[..., House]) -> None:
    _late_writer(build(settings={"WITNESS_SECONDS": "1.5", "BLIPQ_LEASE": "2"}))


@long_run
def test_a_stale_fence_writes_nothing_on_postgresql(
    build: Callable[..., House], postgres_server: PostgresServer
) -> None:
    settings = {"WITNESS_SECONDS": "1.5", "BLIPQ_LEASE": "2"}
    _late_writer(build(database_url=postgres_server.database(), settings=settings))


@pytest.mark.parametrize("shift", [-7200, 7200])
@long_run
def test_a_clock_that_jumps_costs_a_batch_and_nothing_else(build: Callable[..., House], shift: int) -> None:
    # Given two workers at work, and one of them killed together with its supervisor
    house = build(settings={"WITNESS_SECONDS": "0.1"})
    watch_fences(house)
    house.supervise("cpu,cpu")
    house.enqueue(house.paint(range(60), "some"))
    until(lambda: house.captioned() > 8, 30, "some captions")
    # When the database's clock is put forward or back: every lease then ends that much sooner or later
    house.change(
        "UPDATE unit SET lease_until = lease_until - :shift, run_after = 0 WHERE state = 'running'", shift=shift
    )
    # Then all is captioned, and what was held is at most done again
    house.wait_done(60)
    check(house, repeats_allowed=8)
