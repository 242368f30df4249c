"""The schema's version: looked at cheaply at every start, changed through alembic."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import inspect, select, table, text

from blipq.models.database import Ledger, LedgerError, explained

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"  # equal to alembic's head, by a test; read here so that no command pays for importing alembic

State = Literal["current", "empty", "older", "newer"]


def state(ledger: Ledger) -> tuple[State, str | None]:
    """How the database's schema stands to this version of blipq, and its revision."""
    if ledger.sqlite_path is not None and not ledger.sqlite_path.exists():
        return "empty", None
    # Read-only: `status` must answer even while another program holds the write lock.
    with explained(ledger.url), ledger.reader.connect() as connection:
        names = inspect(connection).get_table_names()
        if "alembic_version" not in names:
            return "empty", None
        revision = connection.scalar(select(text("version_num")).select_from(table("alembic_version")))
    if revision is None:
        return "empty", None
    if revision == HEAD:
        return "current", revision
    return ("older" if revision < HEAD else "newer"), revision  # revisions are numbered: 0001, 0002, ...


def ensure_schema(ledger: Ledger) -> None:
    """Bring an embedded SQLite ledger up to date under a lock; check a server database and change nothing.

    Raises LedgerError with what to do where the schema is not this version's.
    """
    if ledger.sqlite_path is not None and state(ledger)[0] in ("empty", "older"):
        upgrade(ledger)
    check_schema(ledger)


def check_schema(ledger: Ledger) -> None:
    """Raise LedgerError, with what to do, where the schema is not this version's."""
    found, revision = state(ledger)
    if found == "newer":
        raise LedgerError(f"the database is of a newer blipq (schema {revision}, this one knows {HEAD}): upgrade blipq")
    if found != "current":
        what = "has no tables yet" if found == "empty" else f"is of an older blipq (schema {revision}, needs {HEAD})"
        raise LedgerError(f"the database {what}: run `blipq db upgrade`")


def upgrade(ledger: Ledger) -> None:
    """Run the migrations that are missing; safe to run from several processes at once."""
    from alembic import command

    path = ledger.sqlite_path
    if path is None:
        with explained(ledger.url):
            command.upgrade(config(ledger), "head")
        return
    lock_path = path.with_name(path.name + ".upgrade")
    with open(os.open(lock_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if state(ledger)[0] != "current":
            with explained(ledger.url):
                command.upgrade(config(ledger), "head")


def config(ledger: Ledger) -> Config:
    """Alembic's configuration for a ledger; the migrations travel inside the package."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent.parent / "alembic"))
    made.attributes["ledger"] = ledger
    return made
