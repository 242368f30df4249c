"""The storm: seeded kills, freezes, lost messages and lost connections upon real processes.

pytest tests/faults/test_storm.py                # 30 s a house, a part of `make test`
make faults                                      # 200 kills, 50 FLUSHALLs and 20 broker kills a house
STORM_SEED=7 pytest tests/faults/test_storm.py   # another story
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import pytest
from conftest import OwnRedis, PostgresServer
from house import House
from invariants import check, watch_fences
from storm import Storm, lock_sqlite

SEED = int(os.environ.get("STORM_SEED", "1"))
LONG = os.environ.get("BLIPQ_TEST_LONG") == "1"
SECONDS = float(os.environ.get("STORM_SECONDS", "15"))
KILLS, FLUSHES, BROKER_KILLS = (int(n) for n in os.environ.get("STORM_COUNTS", "200,50,20").split(","))


def _enough(counts: Counter[str], seconds: float) -> bool:
    if not LONG:
        return seconds > SECONDS
    kills = counts["worker SIGKILL"] + counts["supervisor SIGKILL"]
    broker_kills = counts["broker kill -9"] + counts["broker kill -9, disk lost"]
    return kills >= KILLS and counts["FLUSHALL"] >= FLUSHES and broker_kills >= BROKER_KILLS


def _weather(storm: Storm, capsys: pytest.CaptureFixture[str], what: str) -> None:
    # Given a house whose database notes every caption that is written without its unit being held
    watch_fences(storm.house)
    # When the storm goes over it
    lasted = storm.run(_enough, (0.2, 1.2))
    calm = storm.house.wait_done(180)
    # Then every picture has its one caption, and no more was done again than the faults explain
    outcome = check(storm.house, repeats_allowed=storm.repeats_allowed, failures_allowed=storm.kills)
    with capsys.disabled():
        print(f"\n== {what}, seed {storm.seed}: {lasted:.0f} s of faults, then {calm:.0f} s to the end")
        print(storm.figures())
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(outcome).items()))
        print(f"done again: {outcome.repeats} pictures, {storm.repeats_allowed} allowed; jobs: {storm.enqueued}")


@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_done_twice_on_sqlite_and_the_embedded_broker(
    build: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    house = build(settings={"WITNESS_SECONDS": "0.03"})
    storm = Storm(house, SEED, supervisors=1, devices="cpu,cpu", strike_database=lock_sqlite(house))
    _weather(storm, capsys, "SQLite, embedded Valkey")


@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_done_twice_on_postgresql_and_redis(
    build: Callable[..., House],
    postgres_server: PostgresServer,
    own_redis: OwnRedis,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = postgres_server.database()
    house = build(database_url=url, redis_url=own_redis.url, settings={"WITNESS_SECONDS": "0.03"})

    def strike(dice: random.Random) -> str:
        if dice.random() < 0.5:
            house.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
            return "connections cut"
        mode = dice.choice(("fast", "immediate"))
        postgres_server.restart(mode)
        return f"restarted ({mode})"

    storm = Storm(house, SEED, supervisors=2, devices="cpu", broker=own_redis, strike_database=strike)
    _weather(storm, capsys, "PostgreSQL, Redis")
