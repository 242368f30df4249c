"""Alembic's entry: runs the migrations, then makes every view anew, so that views never drift from `models.views`."""

from alembic import context
from sqlalchemy import Connection, text

from blipq import settings
from blipq.models import views
from blipq.models.database import Ledger, LedgerError, open_ledger
from blipq.models.schema import METADATA

MIGRATION_LOCK = 0x626C697071  # "blipq": two `db upgrade`s on one server run one after the other

ledger: Ledger = context.config.attributes.get("ledger") or open_ledger(settings.load())


def _enforce_references(connection: Connection, on: bool) -> None:
    """SQLite alone: a table that others refer to is made anew only while references are not enforced.

    SQLite ignores this inside a transaction, so it goes past SQLAlchemy, which would begin one.
    """
    if connection.dialect.name == "sqlite":
        connection.connection.execute(f"PRAGMA foreign_keys={'ON' if on else 'OFF'}")


def _check_references(connection: Connection) -> None:
    """What a table that was made anew may have broken, before it is committed. Raises LedgerError."""
    if connection.dialect.name == "sqlite" and (broken := connection.execute(text("PRAGMA foreign_key_check")).all()):
        tables = ", ".join(sorted({f"{row[0]} to {row[2]}" for row in broken}))
        raise LedgerError(f"the database has {len(broken):,} rows that lead nowhere ({tables}): nothing was changed")


with ledger.writer.connect() as connection:
    _enforce_references(connection, False)
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        include_name=lambda name, kind, _: (
            kind != "table" or not (name or "").startswith(("caption_search", "edit_search"))
        ),
    )
    with context.begin_transaction():
        views.drop_all(connection)
        context.run_migrations()
        views.create_all(connection)
        _check_references(connection)
    _enforce_references(connection, True)
