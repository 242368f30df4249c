"""An upgrade on PostgreSQL beside workers of the release before: it waits for them, they for it, and nobody fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import Connection, text

from blipq.models import migrate
from blipq.models.database import Ledger, LedgerError
from blipq.models.migrate import lock_tables

PAUSE_SECONDS = 0.01

# What a worker of the release before does in its transactions, in its order: it stores, claims, beats, and is read.
STORE = """
SELECT id FROM unit WHERE id = :unit FOR UPDATE;
UPDATE unit SET lease_until = 1 WHERE id = :unit;
INSERT INTO image (sha256, width, height, format) VALUES (decode(:hash, 'hex'), 4, 3, 'JPEG');
UPDATE file SET image_id = (SELECT max(id) FROM image) WHERE id = :unit;
INSERT INTO caption (image_id, recipe_id, text, created_at) SELECT max(id), 1, 'a letter', 1 FROM image;
UPDATE item SET state = 'done' WHERE unit_id = :unit;
UPDATE unit SET done = done + 1, fence = fence + 1 WHERE id = :unit;
SELECT id FROM job WHERE id = 1 FOR NO KEY UPDATE;
UPDATE job SET total = total + 1 WHERE id = 1
"""
CLAIM = """
SELECT id FROM job WHERE id = 1 FOR NO KEY UPDATE;
SELECT id FROM unit WHERE job_id = 1 ORDER BY id FOR UPDATE SKIP LOCKED;
UPDATE unit SET fence = fence + 1 WHERE id = :unit;
UPDATE job SET served = served + 1 WHERE id = 1
"""
BEAT = "UPDATE worker SET seen_at = :unit WHERE id = 1; UPDATE unit SET lease_until = 2 WHERE id = :unit"
READ = "SELECT count(*) FROM results; SELECT count(*) FROM jobs; SELECT count(*) FROM photos"
FILL = """
INSERT INTO recipe (hash, model, weights, prompt, num_beams, max_new_tokens, min_new_tokens, do_sample, top_p, top_k,
    temperature, repetition_penalty, length_penalty, no_repeat_ngram_size, seed, preprocessing, created_at)
    VALUES ('x', 'm', 'w', '', 1, 20, 0, false, 1, 50, 1, 1, 1, 0, 0, 'p', 1);
INSERT INTO worker (name, host, pid, queue, versions, state, started_at, seen_at)
    VALUES ('w', 'h', 1, 'caption', 'v', 'idle', 1, 1);
INSERT INTO job (kind, state, source, model, parameters, priority, served, run_after, total, skipped, created_at)
    VALUES ('caption', 'running', 'x', 'm', '{}', 0, 0, 0, 0, 0, 1);
INSERT INTO unit (job_id, queue, state, fence, crashes, run_after, pictures, done, failed)
    SELECT 1, 'caption', 'running', 0, 0, 0, 64, 0, 0 FROM generate_series(1, 4);
INSERT INTO file (path, size, mtime_ns) SELECT '/' || n, 1, 1 FROM generate_series(1, 4) AS n
"""


@pytest.fixture
def older(fresh_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[Ledger]:
    """A ledger of the first schema, with a job that runs."""
    from alembic import command

    with fresh_postgres() as url:
        made = Ledger(url.replace("postgresql://", "postgresql+psycopg://"))
        command.upgrade(migrate.config(made), "0001")
        with made.write() as connection:
            _execute(connection, FILL)
        yield made
        made.close()


def _execute(connection: Connection, statements: str, **values: Any) -> None:
    for statement in statements.split(";"):
        named = {name: value for name, value in values.items() if f":{name}" in statement}
        connection.execute(text(statement), named)


def test_an_upgrade_beside_workers_that_store_ends_and_costs_them_nothing(older: Ledger) -> None:
    # Given workers that store, claim, beat and are looked at without a pause
    over, errors, slowest = threading.Event(), [], [0.0]
    stored = [0, 0]

    def work(number: int) -> None:
        unit = number + 1
        while not over.is_set():
            began = time.monotonic()
            try:
                with older.write() as connection:
                    _execute(connection, STORE, unit=unit, hash=f"{unit}{stored[number]:063}")
                stored[number] += 1
                with older.write() as connection:
                    _execute(connection, CLAIM, unit=unit)
                with older.write() as connection:
                    _execute(connection, BEAT, unit=unit)
                with older.read() as connection:
                    _execute(connection, READ)
            except Exception as error:
                errors.append(error)
                return
            slowest[0] = max(slowest[0], time.monotonic() - began)
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    while min(stored) < 3 and not errors:
        time.sleep(0.01)
    # When the ledger is upgraded
    migrate.upgrade(older)
    before = list(stored)
    while any(now < then + 3 for now, then in zip(stored, before, strict=True)) and not errors:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    # Then they went on, before and after; nothing failed, nothing is lost
    assert errors == []
    assert migrate.state(older) == ("current", migrate.HEAD)
    with older.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM caption")) == sum(stored)
        assert connection.scalar(text("SELECT total FROM job")) == sum(stored)
    assert slowest[0] < 20


def test_tables_that_somebody_holds_all_the_time_are_let_go_of_and_said(older: Ledger) -> None:
    # Given somebody who reads for long
    with older.read() as reader:
        reader.execute(text("SELECT count(*) FROM results"))

        def take() -> None:
            with older.write() as connection:
                lock_tables(connection, patience=1)

        # When an upgrade would have the tables to itself
        with pytest.raises(LedgerError, match="others used the database all the time, for 1 s: end what reads"):
            take()
        # Then it gives up, and has held nobody up meanwhile
        began = time.monotonic()
        with older.write() as connection:
            _execute(connection, STORE, unit=1, hash="00" * 32)
        assert time.monotonic() - began < 1


def test_two_upgrades_at_once_are_one(older: Ledger, blipq: Any) -> None:
    env = {"BLIPQ_DATABASE_URL": older.url, "BLIPQ_REDIS_URL": "redis://127.0.0.1:1/0"}
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: blipq("db", "upgrade", "--json", env=env), range(2)))
    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * 2
    assert migrate.state(older) == ("current", migrate.HEAD)
