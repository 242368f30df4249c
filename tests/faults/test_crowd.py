"""Many at once: workers on one ledger without deadlock or starvation, jobs that take turns, enqueues by the hundred."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import OwnRedis, PostgresServer
from house import LONG, House, long_run, until
from invariants import check, watch_fences
from sqlalchemy import text

from blipq.models.database import PATIENT_SECONDS, Ledger
from blipq.producer.enqueue import Request, enqueue
from blipq.settings import Settings

WORKERS = 8


@pytest.fixture(params=["sqlite", "postgresql"])
def crowded(request: pytest.FixtureRequest, build: Callable[..., House]) -> House:
    """A house with eight workers, ready and idle."""
    settings = {"WITNESS_SECONDS": "0.05", "BLIPQ_LEASE": "30"}
    if request.param == "sqlite":
        house = build(settings=settings)
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        own: OwnRedis = request.getfixturevalue("own_redis")
        house = build(database_url=server.database(), redis_url=own.url, settings=settings)
    watch_fences(house)
    house.supervise(",".join(["cpu"] * WORKERS))
    until(lambda: len(house.at_work()) == WORKERS, 90, "eight workers", 0.3)
    return house


@pytest.mark.timeout(600)
@long_run
def test_eight_workers_share_two_jobs_fairly_and_a_hundred_enqueues_lose_nothing(crowded: House) -> None:
    house = crowded
    # Given two jobs of 150 pictures
    assert house.blipq("pause").returncode == 0
    first = house.enqueue(house.paint(range(150), "first"))
    second = house.enqueue(house.paint(range(1000, 1150), "second"))
    # When eight workers caption them
    assert house.blipq("resume").returncode == 0
    house.wait_done(240)
    # Then every worker had its part
    assert len(house.sql("SELECT DISTINCT worker_id FROM caption")) == WORKERS
    # And by the time that one was half done, so nearly was the other
    order = [row.job_id for row in house.sql(
        """SELECT item.job_id FROM caption JOIN file ON file.image_id = caption.image_id
             JOIN item ON item.file_id = file.id ORDER BY caption.id"""
    )]  # fmt: skip
    half = order[:150]
    assert abs(half.count(first) - half.count(second)) <= 2 * 4 * WORKERS
    # When a hundred enqueue at once
    settings = Settings(
        home=house.home, model=str(house.model), database_url=house.database_url, redis_url=house.redis_url
    )
    folders = [house.paint([2000 + 2 * n, 2001 + 2 * n], f"crowd-{n}") for n in range(100)]

    def put(number: int) -> int | None:
        with_ledger = Ledger(settings.ledger_url, PATIENT_SECONDS)
        try:
            return enqueue(with_ledger, settings, Request((str(folders[number]),), settings.model), lambda _: None).job
        finally:
            with_ledger.close()

    with ThreadPoolExecutor(100 if LONG else 25) as pool:
        jobs = list(pool.map(put, range(100)))
    # Then each has its job, and each picture its caption
    assert len(set(jobs)) == 100
    house.wait_done(240)
    assert house.captioned() == 500
    check(house, repeats_allowed=0)
    if house.database_url:
        with house.ledger.read() as connection:
            deadlocks = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            assert connection.scalar(deadlocks) == 0
