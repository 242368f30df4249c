"""Databases that fill up, lock, restart or drop their connections: workers wait, and go on by themselves."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import witness
from conftest import OwnRedis, PostgresServer
from house import BATCH, LONG, House, alive, long_run, signal_to, until
from invariants import check, watch_fences

from blipq.models.fleet import ALIVE_SECONDS


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of 12 MB."""
    folder = Path(tempfile.mkdtemp(prefix="bq-small-", dir="/tmp"))
    command = ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def _fill(disk: Path) -> None:
    """Leave no room at all, however others make and take some meanwhile."""
    for size in (1 << 20, 4096, 1):
        while True:
            try:
                with open(disk / "filler", "ab", buffering=0) as filler:
                    filler.write(bytes(size))
            except OSError:
                break


def test_a_full_disk_stops_the_work_and_room_lets_it_go_on(build: Callable[..., House], small_disk: Path) -> None:
    # Given a home on a small disk, the photos elsewhere
    house = build(settings={"WITNESS_SECONDS": "0.05"})
    house.move(small_disk / "home")
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint(range(120), "many"))
    until(lambda: house.captioned() >= BATCH, 30, "the first captions")
    # When the disk fills up
    _fill(small_disk)
    until(lambda: house.said("the disk of the database is full"), 30, "the log to say so", 0.2)
    # Then no worker dies of it, no caption is lost, and status still answers and says what is wrong
    captioned = house.captioned()
    workers = house.workers()
    time.sleep(3)
    assert house.workers() == workers
    assert 0 <= house.captioned() - captioned <= BATCH
    shown = house.status()
    assert "is full: make room" in shown["problem"]
    assert shown["jobs"][0]["done"] == house.captioned()
    # And with room again it goes on by itself
    (small_disk / "filler").unlink()
    house.wait_done(60)
    check(house, repeats_allowed=2 * BATCH)


class Lock:
    """Another program that keeps everybody from writing to a house's SQLite file."""

    def __init__(self, house: House) -> None:
        self._other = sqlite3.connect(house.home / "blipq.db", timeout=5, isolation_level=None)

    def __enter__(self) -> None:
        self._other.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_: object) -> None:
        self._other.execute("ROLLBACK")
        self._other.close()


def _nobody_is_to_blame(house: House) -> None:
    assert not house.sql("SELECT id, crashes, lapses FROM unit WHERE crashes > 0 OR lapses > 0")
    assert not house.said("gives no sign of life")
    check(house, repeats_allowed=0)


@pytest.mark.parametrize("seconds", [11, 25])
@long_run
def test_a_lock_for_longer_than_a_lease_costs_no_worker_and_no_picture(
    build: Callable[..., House], seconds: float
) -> None:
    # Given a worker with a batch on its model that takes longer than two locks, each longer than the lease
    house = build(settings={"WITNESS_SECONDS": str(2 * (seconds + 1.5) / BATCH)})
    watch_fences(house)
    house.supervise("cpu,cpu")
    house.enqueue(house.paint(range(BATCH), "some"))
    until(lambda: house.runs().total() == BATCH, 30, "the batch")
    workers = house.workers()
    for _ in range(2):
        with Lock(house):
            time.sleep(seconds)
            if seconds > ALIVE_SECONDS + 5:  # nobody was heard of meanwhile, and status knows why
                shown = house.status()
                assert "locked by another program" in shown["problem"]
                assert {worker["state"] for worker in shown["workers"]} == {"halted"}
        time.sleep(1)
    # Then its worker stores it, as nobody took it away
    house.wait_done(60)
    assert house.workers() == workers
    _nobody_is_to_blame(house)


@pytest.mark.parametrize("how", ["freeze", pytest.param("stop", marks=long_run)])
def test_a_server_that_is_away_for_longer_than_a_lease_costs_no_worker_and_no_picture(
    build: Callable[..., House], postgres_server: PostgresServer, own_redis: OwnRedis, how: str
) -> None:
    # Given two workers on PostgreSQL, one with a batch on its model that takes longer than two outages
    away = 25.0 if LONG else 6.0
    settings = {"WITNESS_SECONDS": str((2 * away + 4) / BATCH)}
    house = build(database_url=postgres_server.database(), redis_url=own_redis.url, settings=settings)
    watch_fences(house)
    house.supervise("cpu,cpu")
    house.enqueue(house.paint(range(BATCH), "some"))
    until(lambda: house.runs().total() == BATCH, 30, "the batch")
    workers = house.workers()
    for _ in range(2):
        if how == "freeze":
            postgres_server.freeze(away)
        else:
            postgres_server.restart("fast", away)
        time.sleep(1)
    # Then its worker stores it
    house.wait_done(60)
    assert house.workers() == workers
    _nobody_is_to_blame(house)


def test_a_batch_that_hangs_ends_at_its_limit_while_the_database_hangs_too(
    build: Callable[..., House], postgres_server: PostgresServer, own_redis: OwnRedis
) -> None:
    # Given a picture that the model never finishes
    house = build(database_url=postgres_server.database(), redis_url=own_redis.url, settings={"BLIPQ_BATCH_LIMIT": "3"})
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint([1], "one", does=witness.HANG))
    until(lambda: house.runs()[1] == 1, 30, "the batch")
    (worker,) = house.workers()
    # When the database gives no answer for longer than the limit
    freezing = threading.Thread(target=postgres_server.freeze, args=(12,))
    freezing.start()
    # Then the worker ends all the same
    until(lambda: not alive(worker), 8, "the end of the worker")
    freezing.join()
    # And nobody knows whose fault that was
    until(lambda: house.sql("SELECT 1 FROM unit WHERE crashes = 0 AND lapses = 1"), 20, "a lapse")


def test_a_worker_that_dies_while_the_database_is_away_is_nobodys_crash(build: Callable[..., House]) -> None:
    # Given a worker with a batch on its model
    house = build(settings={"WITNESS_SECONDS": "0.6"})
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint(range(BATCH), "some"))
    until(lambda: house.runs().total() == BATCH, 30, "the batch")
    # When it is killed while nobody can write, and when it is killed again
    with Lock(house):
        signal_to(house.workers()[0], signal.SIGKILL)
        time.sleep(7)
    until(lambda: house.runs().total() == 2 * BATCH, 30, "the second try")
    assert house.sql("SELECT crashes, lapses FROM unit") == [(0, 1)]
    signal_to(house.workers()[0], signal.SIGKILL)
    # Then only the second counts against the batch
    until(lambda: house.sql("SELECT 1 FROM unit WHERE crashes = 1"), 10, "a crash")
    house.wait_done(60)
    check(house, repeats_allowed=2 * BATCH)


@pytest.mark.parametrize("seconds", [2, 11])
@long_run
def test_a_locked_database_is_waited_for(build: Callable[..., House], seconds: int) -> None:
    # Given a worker at work, with a lease that outlives the lock
    house = build(settings={"WITNESS_SECONDS": "0.05", "BLIPQ_LEASE": "30"})
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint(range(60), "some"))
    until(lambda: house.captioned() >= BATCH, 30, "the first captions")
    # When another program locks the database
    with Lock(house):
        began = time.monotonic()
        # Then readers are not held up
        assert house.blipq("status", "--json", timeout=5 + seconds).returncode == 0
        assert house.status()["jobs"][0]["remaining"] > 0
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    # And the work goes on, nothing done again
    house.wait_done(60)
    check(house, repeats_allowed=0)


@pytest.mark.parametrize("how", ["fast", "immediate", "connections"])
@long_run
def test_a_database_that_restarts_or_hangs_up_is_waited_for(
    build: Callable[..., House], postgres_server: PostgresServer, own_redis: OwnRedis, how: str
) -> None:
    # Given a worker at work on PostgreSQL
    settings = {"WITNESS_SECONDS": "0.05", "BLIPQ_LEASE": "20"}
    house = build(database_url=postgres_server.database(), redis_url=own_redis.url, settings=settings)
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint(range(100), "many"))
    until(lambda: house.captioned() >= BATCH, 30, "the first captions")
    worker = house.workers()
    dice = random.Random(1)
    # When the server ends every connection, three times
    for _ in range(3):
        if how == "connections":
            house.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        else:
            postgres_server.restart(how)
        time.sleep(dice.uniform(0.2, 0.6))
    # Then the same worker goes on, and no batch is done again
    house.wait_done(60)
    assert house.workers() == worker
    check(house, repeats_allowed=0)


@long_run
def test_a_broker_that_dies_mid_job_holds_nothing_up(build: Callable[..., House]) -> None:
    # Given a worker at work
    house = build(settings={"WITNESS_SECONDS": "0.05"})
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint(range(60), "some"))
    until(lambda: house.captioned() >= BATCH, 30, "the first captions")
    # When the broker is killed
    broker = house.broker()
    assert broker is not None
    os.kill(broker, 9)
    # Then the job goes on, and the next one finds a broker
    house.wait_done(60)
    house.enqueue(house.paint(range(100, 110), "more"))
    house.wait_done(60)
    check(house, repeats_allowed=0)
