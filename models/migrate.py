"""The schema's version: looked at cheaply at every start, changed through alembic."""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Connection, inspect, select, table, text
from sqlalchemy.exc import OperationalError

from blipq.models.database import PATIENT_SECONDS, Ledger, LedgerError, explained

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"  # equal to alembic's head, by a test; read here so that no command pays for importing alembic

MOMENT_SECONDS = (0.05, 1.5)  # that tables are waited for at a time, ever longer; nobody else waits longer for it
PAUSE_SECONDS = (0.02, 0.2)  # between two such times

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


def lock_tables(connection: Connection, patience: float = PATIENT_SECONDS) -> None:
    """On PostgreSQL, have every table and view to ourselves until the transaction ends, while others work with them.

    Taken one after the other as a migration comes to them, in an order that is nobody else's, they would end in a
    deadlock with a worker that stores. So all of them are taken up front or none: what is not free within a moment is
    let go of, and tried again. Raises LedgerError after `patience` seconds.
    """
    if connection.dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE has waited for everybody
    inspector = inspect(connection)
    # Views first: who reads one holds it while he waits for its tables.
    names = [*sorted(inspector.get_view_names()), *sorted(inspector.get_table_names())]
    if not names:
        return
    all_of_them = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
    began, moment = time.monotonic(), MOMENT_SECONDS[0]
    while True:
        attempt = connection.begin_nested()
        try:
            connection.execute(text(f"SET LOCAL lock_timeout = {int(1000 * moment)}"))
            connection.execute(text(f"LOCK TABLE {all_of_them} IN ACCESS EXCLUSIVE MODE"))
            attempt.commit()
            break
        except OperationalError as error:
            attempt.rollback()
            if getattr(error.orig, "sqlstate", None) not in ("55P03", "40P01"):
                raise
        if time.monotonic() - began > patience:
            raise LedgerError(
                f"others used the database all the time, for {patience:g} s: end what reads or writes for long "
                "(pg_stat_activity names it), or stop the workers, and run `blipq db upgrade` again"
            )
        time.sleep(random.uniform(*PAUSE_SECONDS))
        moment = min(MOMENT_SECONDS[1], 1.3 * moment)
    connection.execute(text(f"SET LOCAL lock_timeout = {1000 * PATIENT_SECONDS}"))


def config(ledger: Ledger) -> Config:
    """Alembic's configuration for a ledger; the migrations travel inside the package."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent.parent / "alembic"))
    made.attributes["ledger"] = ledger
    return made
