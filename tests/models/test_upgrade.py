"""Ledgers of the release before: they upgrade, nothing in them is lost, and both releases work beside each other."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from blipq.models import lease, migrate, views
from blipq.models.database import Ledger, LedgerError
from blipq.models.schema import METADATA

LEDGERS = Path(__file__).parent / "ledgers"
KEYED = sorted(name for name, table in METADATA.tables.items() if "id" in table.c)


@pytest.fixture(params=["sqlite", "postgresql"])
def older(
    request: pytest.FixtureRequest, tmp_path: Path, fresh_postgres: Callable[[], AbstractContextManager[str]]
) -> Iterator[Ledger]:
    """A ledger as the release before left it, on each database (see ledgers/make.py)."""
    if request.param == "sqlite":
        path = tmp_path / "blipq.db"
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript((LEDGERS / "0001.sqlite.sql").read_text())
        made = Ledger(f"sqlite:///{path}")
        yield made
        made.close()
        return
    import psycopg

    with fresh_postgres() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute((LEDGERS / "0001.postgresql.sql").read_text().encode())
        made = Ledger(url.replace("postgresql://", "postgresql+psycopg://"))
        yield made
        made.close()


def test_nothing_is_lost(older: Ledger) -> None:
    # Given all rows of all tables and views, as the release before sees them
    assert migrate.state(older) == ("older", "0001")
    with older.read() as connection:
        columns = {name: _columns(connection, name) for name in (*METADATA.tables, *views.VIEWS)}
        before = {name: _rows(connection, name, columns[name]) for name in columns}
    assert all(before.values()), "the fixture has something in each table"
    # When the ledger is upgraded
    migrate.upgrade(older)
    # Then they are all there, unchanged
    assert migrate.state(older) == ("current", migrate.HEAD)
    with older.read() as connection:
        assert {name: _rows(connection, name, columns[name]) for name in columns} == before


def test_an_upgraded_ledger_is_what_a_new_one_is(older: Ledger, tmp_path: Path) -> None:
    from alembic import command

    migrate.upgrade(older)
    command.check(migrate.config(older))
    if older.sqlite_path is not None:
        fresh = Ledger(f"sqlite:///{tmp_path / 'fresh.db'}")
        with fresh.writer.begin() as connection:
            METADATA.create_all(connection)
            wanted = {name: _described(connection, name) for name in METADATA.tables}
        with older.read() as connection:
            assert {name: _described(connection, name) for name in METADATA.tables} == wanted
            assert connection.scalar(text("PRAGMA foreign_key_check")) is None
        fresh.close()


@pytest.mark.parametrize("table", KEYED)
def test_an_id_never_returns(older: Ledger, table: str) -> None:
    """Whatever is deleted, and when: before the upgrade, after it, the newest or all of it."""
    with older.writer.begin() as connection:
        row, highest = _newest(connection, table)
    migrate.upgrade(older)
    for _ in range(2):
        with older.writer.connect() as connection:
            _delete_all(connection, table)
            _unbound(connection)
            connection.execute(_insert(table, row), row)
            connection.commit()
            _, again = _newest(connection, table)
        assert again > highest
        highest = again


def test_the_number_of_a_forgotten_run_that_captions_still_name_does_not_return(older: Ledger) -> None:
    with older.writer.begin() as connection:
        connection.execute(text("UPDATE alias SET model = 'run:41@7'"))
        row, _ = _newest(connection, "run")
    migrate.upgrade(older)
    with older.writer.connect() as connection:
        _unbound(connection)
        connection.execute(_insert("run", row), row)
        assert connection.scalar(text("SELECT max(id) FROM run")) > (41 if older.sqlite_path else 1)


def test_workers_of_the_release_before_go_on(older: Ledger) -> None:
    # Given an upgraded ledger in which a worker of the release before holds a unit
    migrate.upgrade(older)
    with older.write() as connection:
        held = connection.execute(text("SELECT id, job_id, fence, crashes FROM unit WHERE state = 'running'")).one()
        # When it renews it, counts on, and claims as it always did; the fence may be one of this release by then
        assert lease.renew(connection, [lease.Lease(*held)], 30) == {held.id}
        connection.execute(text("UPDATE unit SET fence = :fence WHERE id = :id"), {"fence": 2**62 - 1, "id": held.id})
        again = "UPDATE unit SET fence = fence + 1, worker_id = 1, state = 'running' WHERE id = :id RETURNING fence"
        fence = connection.scalar(text(again), {"id": held.id})
        # And when it inserts what it knows of a unit and a job
        connection.execute(
            text("""INSERT INTO unit (job_id, queue, state, fence, crashes, run_after, pictures, done, failed)
                    SELECT job_id, queue, state, fence, crashes, run_after, pictures, done, failed FROM unit""")
        )
        connection.execute(
            text("""INSERT INTO job (kind, state, source, model, parameters, priority, served, run_after, total,
                                     skipped, created_at)
                    SELECT kind, state, source, model, parameters, priority, served, run_after, total, skipped,
                           created_at FROM job""")
        )
    # Then it is understood
    assert fence == 2**62
    with older.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM unit WHERE lapses <> 0 OR preemptions <> 0")) == 0
        assert lease.wanted(connection, [lease.Lease(held.id, held.job_id, fence, 0)]) == {held.id}


@pytest.mark.parametrize("older", ["sqlite"], indirect=True)
def test_rows_that_lead_nowhere_stop_an_upgrade_that_then_has_changed_nothing(older: Ledger) -> None:
    assert older.sqlite_path is not None
    with contextlib.closing(sqlite3.connect(older.sqlite_path)) as connection:
        connection.execute("UPDATE item SET unit_id = 999")
        connection.commit()
        before = list(connection.iterdump())
    with pytest.raises(LedgerError, match=r"20 rows that lead nowhere \(item to unit\)"):
        migrate.upgrade(older)
    with contextlib.closing(sqlite3.connect(older.sqlite_path)) as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("older", ["sqlite"], indirect=True)
def test_references_are_enforced_again_after_an_upgrade(older: Ledger) -> None:
    from sqlalchemy.exc import IntegrityError

    migrate.upgrade(older)
    with pytest.raises(IntegrityError), older.write() as connection:
        connection.execute(text("DELETE FROM job"))


def _columns(connection: Connection, table: str) -> list[str]:
    return list(connection.execute(text(f"SELECT * FROM {table} LIMIT 0")).keys())


def _rows(connection: Connection, table: str, columns: list[str]) -> list[tuple[Any, ...]]:
    rows = connection.execute(text(f"SELECT {', '.join(columns)} FROM {table}"))
    return sorted((tuple(row) for row in rows), key=repr)


def _described(connection: Connection, table: str) -> list[object]:
    """All that SQLite knows of a table, but for the order of its columns and the spelling of its statement."""
    columns = connection.execute(
        text(f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('{table}')")
    )
    links = connection.execute(text(f'SELECT "from", "table", "to" FROM pragma_foreign_key_list(\'{table}\')'))
    indexes = connection.execute(
        text(f"SELECT name, sql FROM sqlite_master WHERE tbl_name = '{table}' AND type = 'index'")
    )
    statement = connection.scalar(text(f"SELECT sql FROM sqlite_master WHERE name = '{table}' AND type = 'table'"))
    return [
        sorted(map(str, columns)),
        sorted(map(str, links)),
        sorted(map(str, indexes)),
        "AUTOINCREMENT" in statement,
        "CHECK (state IN" in statement.replace('"', ""),
        "UNIQUE" in statement,
    ]


def _newest(connection: Connection, table: str) -> tuple[dict[str, Any], int]:
    row = dict(connection.execute(text(f"SELECT * FROM {table} ORDER BY id DESC LIMIT 1")).one()._mapping)
    return row, int(row.pop("id"))


def _insert(table: str, row: dict[str, Any]) -> Any:
    return text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})")


def _delete_all(connection: Connection, table: str) -> None:
    _unbound(connection)
    connection.execute(text(f"DELETE FROM {table}"))
    connection.commit()


def _unbound(connection: Connection) -> None:
    """References are not enforced in the transaction that follows."""
    if connection.dialect.name == "sqlite":
        connection.connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[attr-defined]
    else:
        connection.execute(text("SET session_replication_role = replica"))
