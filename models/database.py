"""Connections to the ledger: SQLite (WAL) on a laptop, PostgreSQL past one machine."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError

from blipq.settings import Settings, redact

BUSY_SECONDS = 10  # a third of the lease: a worker that waits longer for SQLite's lock would lose its units anyway
PATIENT_SECONDS = 60  # a command holds no lease, and may wait its turn behind a hundred others
CONNECT_SECONDS = 5


TRIES = 5  # of a transaction that the database ended for another's sake
_AGAIN_SECONDS = 0.05
T = TypeVar("T")


class LedgerError(Exception):
    """The database cannot be used; the message is one line: what is wrong, what to do."""


class TransactionLost(LedgerError):
    """The database ended a transaction for the sake of another one: nothing of it was written, it may be made again."""


@dataclass(frozen=True)
class Ledger:
    """The SQL database and the two ways to use it: short writing transactions and reads that never wait for them.

    `patience`: seconds that a writer waits for SQLite's lock, or for one of PostgreSQL's.
    """

    url: str
    patience: int = BUSY_SECONDS
    _turn: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @property
    def sqlite_path(self) -> Path | None:
        """The file, where the ledger is SQLite."""
        scheme, _, path = self.url.partition(":///")
        return Path(path) if scheme.startswith("sqlite") else None

    @cached_property
    def writer(self) -> Engine:
        """Engine for transactions that write: on SQLite each begins with BEGIN IMMEDIATE."""
        if self.sqlite_path is None:
            return _postgresql(self.url, {"lock_timeout": f"{self.patience}s"})
        engine = create_engine(self.url)
        event.listen(engine, "connect", partial(_on_sqlite_connect, self.patience))
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    @cached_property
    def reader(self) -> Engine:
        """Engine for reads. On SQLite it cannot write, and does not wait behind a writer."""
        if self.sqlite_path is None:
            return _postgresql(self.url, {"default_transaction_read_only": "on"})
        engine = create_engine(f"sqlite:///file:{_quoted(self.sqlite_path)}?mode=ro&uri=true")
        event.listen(engine, "connect", _on_sqlite_read)
        event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
        return engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One writing transaction: committed at the end, rolled back on an error."""
        with explained(self.url), self._in_turn(), self.writer.begin() as connection:
            yield connection

    def transact(self, act: Callable[[Connection], T]) -> T:
        """Run a writing transaction; again, up to 5 times, where the database ended it for the sake of another one.

        `act` may run more than once, and so leaves what is outside of the ledger alone.
        """
        for number in range(1, TRIES):
            try:
                with self.write() as connection:
                    return act(connection)
            except TransactionLost:
                time.sleep(random.uniform(0, number * _AGAIN_SECONDS))
        with self.write() as connection:
            return act(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One reading transaction: a consistent picture of the ledger."""
        with explained(self.url), self.reader.begin() as connection:
            yield connection

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """Reads that need not agree with each other: without a transaction, which costs PostgreSQL two messages."""
        if self.sqlite_path is not None:
            with self.read() as connection:
                yield connection
            return
        with explained(self.url), self.reader.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def refusal(self) -> str | None:
        """Why nobody can write just now; None where one can. Waits a second for SQLite's lock."""
        brief = Ledger(self.url, patience=1)
        try:
            with brief.write():
                return None
        except LedgerError as error:
            return str(error)
        finally:
            brief.close()

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """On SQLite, one thread of this process after the other: what waits for SQLite's own lock sleeps up to 0.1 s.

        That was a third of the time of a thread that claims beside one that stores. Whose turn does not come in time
        hears it from SQLite.
        """
        mine = self.sqlite_path is not None and self._turn.acquire(timeout=self.patience)
        try:
            yield
        finally:
            if mine:
                self._turn.release()

    @contextmanager
    def watched(self) -> Iterator[Callable[[], bool]]:
        """Whether anybody has committed since it was last asked, for one thread: 10 µs on SQLite.

        PostgreSQL does not tell, and so says yes.
        """
        if self.sqlite_path is None:
            yield lambda: True
            return
        seen = 0
        with explained(self.url):
            address = f"file:{_quoted(self.sqlite_path)}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:

                def changed() -> bool:
                    nonlocal seen
                    before, (seen,) = seen, connection.execute("PRAGMA data_version").fetchone()
                    return bool(seen != before)

                yield changed

    def close(self) -> None:
        """Close every connection; the next use opens new ones."""
        for name in ("writer", "reader"):
            engine = self.__dict__.get(name)
            if engine is not None:
                engine.dispose()


def open_ledger(settings: Settings, patience: int = BUSY_SECONDS) -> Ledger:
    """The ledger that the settings name; connects at first use.

    Raises LedgerError where PostgreSQL is named and its driver is not installed.
    """
    ledger = Ledger(settings.ledger_url, patience)
    if ledger.sqlite_path is not None:
        _make_private(ledger.sqlite_path)
    else:
        try:
            ledger.writer  # noqa: B018 (builds the engine: a missing driver shows here)
        except (ModuleNotFoundError, NoSuchModuleError):
            raise LedgerError("PostgreSQL needs its driver: pip install 'blipq[postgres]'") from None
    return ledger


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what a driver says when the database cannot be used into one LedgerError."""
    try:
        yield
    except (DBAPIError, sqlite3.OperationalError) as error:
        reason = _reason(error)
        if reason is None:
            raise
        kind = TransactionLost if _sqlstate(error) in _LOST else LedgerError
        raise kind(f"{reason} ({redact(url)})") from error


_LOST = {
    "40P01": "two transactions waited for each other, and the database ended this one (a deadlock): "
    "nothing of it was written, try again",
    "40001": "another transaction changed the same rows first (a serialization failure): "
    "nothing of this one was written, try again",
}
_STATES = _LOST | {
    "55P03": "another transaction holds these rows for too long: try again, or look for one that is stuck "
    "(pg_stat_activity names it)",
    "57014": "the server ended the statement (its statement_timeout, or an administrator): "
    "try again, or ask for more time for this user",
}


def _sqlstate(error: Exception) -> str | None:
    """PostgreSQL's code of an error."""
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _reason(error: Exception) -> str | None:
    if (told := _STATES.get(_sqlstate(error) or "")) is not None:
        return told
    said = " ".join(str(getattr(error, "orig", None) or error).split())
    low = said.lower()
    if "disk is full" in low or "no space left" in low or "disk i/o error" in low:
        return "the disk of the database is full or failing: make room; work goes on by itself"
    if "unable to open database" in low:
        return "the database file cannot be opened: check BLIPQ_HOME or BLIPQ_DATABASE_URL, and the folder's rights"
    if "readonly" in low or "read-only transaction" in low:
        return None
    if "locked" in low:
        return "the database was locked by another program for too long: close it, or try again"
    if "not a database" in low or "malformed" in low:
        return "the database file is damaged: restore a copy, or move it away to begin anew"
    if isinstance(error, OperationalError) or getattr(error, "connection_invalidated", False):
        return f"the database cannot be reached: {said.splitlines()[0][:200] if said else 'connection lost'}"
    return None


# A host that is gone, or a network that drops packets, answers nothing and resets nothing: without these a statement
# would wait for 15 minutes (for what was sent to be acknowledged) or for 2 hours (for an answer), and its thread with
# it. Both ends give up after about 20 s, less than a lease, and the server then lets go of the locks. A server that is
# only slow or stopped acknowledges and is waited for: there is no limit to the time of a statement.
_GONE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "2"}
_SERVER = _GONE | {"tcp_user_timeout": "20s"}
_CLIENT = {name.removeprefix("tcp_"): value for name, value in _GONE.items()} | {"tcp_user_timeout": "20000"}


def _postgresql(url: str, options: dict[str, str]) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=4,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "options": " ".join(f"-c {name}={value}" for name, value in (_SERVER | options).items()),
            "application_name": "blipq",
            **_CLIENT,
            # A plan made while a table was empty, and kept, reads all of it later: 40 % of the server's time went to
            # known contents. Planning costs 0.1 ms a statement.
            "prepare_threshold": None,
        },
    )
    event.listen(engine, "connect", _on_postgresql_connect)
    # Many rows a statement, where psycopg's executemany would have the server run one for each.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    return engine


def _on_postgresql_connect(connection: Any, record: object) -> None:
    from psycopg.types.array import ListBinaryDumper  # an extra: not everybody has it

    connection.adapters.register_dumper(list, ListBinaryDumper)  # 0.3 ms where 512 hashes or texts take 2 as text


def _on_sqlite_connect(patience: int, connection: Any, record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's begin event says BEGIN IMMEDIATE instead
    for pragma in (f"busy_timeout={patience * 1000}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_sqlite_read(connection: Any, record: object) -> None:
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")


def _quoted(path: Path) -> str:
    return quote(str(path))


def _make_private(path: Path) -> None:
    """Make the home folder 0700 and the database 0600 before SQLite would make them wider."""
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.close(descriptor)
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}: set BLIPQ_HOME to a folder that you may write") from None
