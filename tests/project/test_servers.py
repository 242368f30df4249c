"""The fixtures that lend servers: fresh ones each time, a skip where none answers, a failure where one is demanded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_database(postgres_url: str, turn: int) -> None:
    with psycopg.connect(postgres_url) as connection:
        connection.execute("CREATE TABLE thing (id integer)")
        [(tables,)] = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == 1


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_redis(redis_url: str, turn: int) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 1  # the claim on it
        client.set("thing", turn)


@pytest.mark.parametrize(("demand", "outcome"), [("", "1 skipped"), ("required", "1 error")])
@pytest.mark.parametrize("server", ["database", "redis"])
def test_a_server_that_does_not_answer_skips_or_fails(server: str, demand: str, outcome: str) -> None:
    nowhere = {"PGHOST": "127.0.0.1", "PGPORT": "1", "BLIPQ_TEST_REDIS": "redis://127.0.0.1:1"}
    test = f"{__file__}::test_each_test_gets_an_empty_{server}[1]"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=ROOT,
        env=os.environ | nowhere | {"BLIPQ_TEST_SERVERS": demand},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome in done.stdout
    assert "does not answer" in done.stdout
