"""The storm: seeded kills, freezes, lost messages and lost connections upon real processes.

pytest tests/faults/test_storm.py                # 30 s a house, a part of `make test`
make faults                                      # 200 kills, 50 FLUSHALLs, 20 broker kills and 8 outages a house
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
from people import leftovers
from storm import OUTAGE_SECONDS, Storm, lock_sqlite

SEED = int(os.environ.get("STORM_SEED", "1"))
LONG = os.environ.get("BLIPQ_TEST_LONG") == "1"
SECONDS = float(os.environ.get("STORM_SECONDS", "15"))
KILLS, FLUSHES, BROKER_KILLS, OUTAGES = (int(n) for n in os.environ.get("STORM_COUNTS", "200,50,20,8").split(","))
AWAY = OUTAGE_SECONDS if LONG else (5.0, 5.0)


def _enough(counts: Counter[str], seconds: float) -> bool:
    if not LONG:
        return seconds > SECONDS
    kills = counts["worker SIGKILL"] + counts["supervisor SIGKILL"]
    broker_kills = counts["broker kill -9"] + counts["broker kill -9, disk lost"]
    outages = sum(n for name, n in counts.items() if name.startswith("outage, "))
    enough = kills >= KILLS and counts["FLUSHALL"] >= FLUSHES and broker_kills >= BROKER_KILLS
    return enough and outages >= OUTAGES


def _weather(storm: Storm, capsys: pytest.CaptureFixture[str], what: str) -> None:
    # Given a house whose database notes every caption that is written without its unit being held
    watch_fences(storm.house)
    # When the storm goes over it
    lasted = storm.run(_enough, (0.2, 1.2))
    calm = storm.house.wait_done(180)
    # Then every picture that nobody forgot has its one caption, and no more was done again than the faults explain
    given_up = storm.house.sql("SELECT id, note FROM job WHERE state = 'failed'")
    assert not given_up, f"jobs that failed: {given_up}"
    outcome = check(storm.house, repeats_allowed=storm.repeats_allowed, forgotten=storm.people.forgotten_folders)
    assert not storm.people.wrong, f"another picture's caption was answered: {storm.people.wrong[:5]}"
    assert not (left := leftovers(storm.house, storm.people.forgotten)), f"forgotten, and still there: {left[:5]}"
    with capsys.disabled():
        print(f"\n== {what}, seed {storm.seed}: {lasted:.0f} s of faults, then {calm:.0f} s to the end")
        print(storm.figures())
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in asdict(outcome).items()))
        print(f"the database was away for {storm.away_seconds:.0f} s; uploads: {storm.people.uploaded}")
        print(f"done again: {outcome.repeats} pictures, {storm.repeats_allowed} allowed; jobs: {storm.enqueued}")


@pytest.mark.timeout(3600)
def test_nothing_is_lost_or_done_twice_on_sqlite_and_the_embedded_broker(
    build: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    house = build(settings={"WITNESS_SECONDS": "0.03"})
    storm = Storm(
        house,
        SEED,
        supervisors=1,
        devices="cpu,cpu",
        strike_database=lambda dice: lock_sqlite(house, dice.choice((0.5, 2, 2, 11))),
        outage=lambda dice, seconds: lock_sqlite(house, seconds),
        outage_seconds=AWAY,
    )
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

    def outage(dice: random.Random, seconds: float) -> str:
        how = dice.choice(("fast", "immediate", "frozen"))
        if how == "frozen":
            postgres_server.freeze(seconds)
        else:
            postgres_server.restart(how, seconds)
        return how

    storm = Storm(
        house,
        SEED,
        supervisors=2,
        devices="cpu",
        broker=own_redis,
        strike_database=strike,
        outage=outage,
        outage_seconds=AWAY,
    )
    _weather(storm, capsys, "PostgreSQL, Redis")
