"""Alembic's entry: runs the migrations, then makes every view anew, so that views never drift from `models.views`."""

from alembic import context
from sqlalchemy import text

from blipq import settings
from blipq.models import views
from blipq.models.database import Ledger, open_ledger
from blipq.models.schema import METADATA

MIGRATION_LOCK = 0x626C697071  # "blipq": two `db upgrade`s on one server run one after the other

ledger: Ledger = context.config.attributes.get("ledger") or open_ledger(settings.load())

with ledger.writer.connect() as connection:
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
