"""Databases that fill up, lock, restart or drop their connections: workers wait, and go on by themselves."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import OwnRedis, PostgresServer
from house import BATCH, House, long_run, until
from invariants import check, watch_fences


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
    other = sqlite3.connect(house.home / "blipq.db", timeout=5, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    # Then readers are not held up
    assert house.blipq("status", "--json", timeout=5 + seconds).returncode == 0
    assert house.status()["jobs"][0]["remaining"] > 0
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    other.execute("ROLLBACK")
    other.close()
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
