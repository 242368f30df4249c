"""The schema: one set of migrations for both databases, views that never drift, versions that are checked."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from blipq.models import migrate, views
from blipq.models.database import Ledger, LedgerError, open_ledger
from blipq.settings import Settings


def test_migrations_make_what_the_tables_say(ledger: Ledger) -> None:
    from alembic import command

    command.check(migrate.config(ledger))


def test_head_is_alembics(tmp_path: Path) -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(migrate.config(Ledger(f"sqlite:///{tmp_path / 'none.db'}")))
    assert script.get_current_head() == migrate.HEAD


def test_views_equal_freshly_made_ones(ledger: Ledger) -> None:
    names = ", ".join(f"'{name}'" for name in views.VIEWS)
    query = {
        "sqlite": f"SELECT name, sql FROM sqlite_master WHERE type = 'view' AND name IN ({names}) ORDER BY name",
        "postgresql": f"SELECT viewname, definition FROM pg_views WHERE viewname IN ({names}) ORDER BY viewname",
    }
    with ledger.writer.begin() as connection:
        migrated = connection.execute(text(query[connection.dialect.name])).all()
        views.drop_all(connection)
        views.create_all(connection)
        fresh = connection.execute(text(query[connection.dialect.name])).all()
    assert len(migrated) == len(views.VIEWS)
    assert migrated == fresh


def test_every_view_can_be_read_while_empty(ledger: Ledger) -> None:
    with ledger.read() as connection:
        for name in views.VIEWS:
            assert connection.execute(text(f"SELECT * FROM {name}")).all() == []


def test_readers_cannot_write(ledger: Ledger) -> None:
    from sqlalchemy.exc import DBAPIError

    with pytest.raises((DBAPIError, LedgerError)), ledger.read() as connection:
        connection.execute(text("DELETE FROM job"))


@pytest.mark.parametrize(("revision", "says"), [("0000", "older blipq"), ("9999", "newer blipq"), (None, "no tables")])
def test_another_version_is_refused_with_what_to_do(ledger: Ledger, revision: str | None, says: str) -> None:
    with ledger.writer.begin() as connection:
        if revision is None:
            connection.execute(text("DELETE FROM alembic_version"))
        else:
            connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
    with pytest.raises(LedgerError, match=says) as refused:
        migrate.check_schema(ledger)
    assert "upgrade" in str(refused.value)
    with ledger.writer.begin() as connection:  # the database is emptied, not made anew, for the next test
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:r)"), {"r": migrate.HEAD})


def test_an_embedded_ledger_is_private_and_upgrades_itself(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ledger = open_ledger(Settings(home=home))
    migrate.ensure_schema(ledger)
    assert migrate.state(ledger) == ("current", migrate.HEAD)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "blipq.db").stat().st_mode) == 0o600
    ledger.close()


def test_many_first_uses_at_once_make_one_schema(home: Path) -> None:
    command = [sys.executable, "-P", "-m", "blipq", "status"]
    racing = [subprocess.Popen(command, env=os.environ | {"BLIPQ_HOME": str(home)}) for _ in range(6)]
    assert [process.wait(60) for process in racing] == [0] * 6
    assert migrate.state(open_ledger(Settings(home=home))) == ("current", migrate.HEAD)


def test_a_server_database_is_only_upgraded_by_hand(postgres_url: str) -> None:
    ledger = open_ledger(Settings(database_url=postgres_url))
    with pytest.raises(LedgerError, match="run `blipq db upgrade`"):
        migrate.ensure_schema(ledger)
    migrate.upgrade(ledger)
    migrate.ensure_schema(ledger)
    ledger.close()


@pytest.mark.parametrize("url", ["postgresql+psycopg://user:sesame@127.0.0.1:1/none", "sqlite:////proc/blipq/none.db"])
def test_a_database_that_is_not_there_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(LedgerError) as refused, Ledger(url).read():
        pass
    assert "sesame" not in str(refused.value)
    assert "\n" not in str(refused.value)
