"""`blipq db`: the schema's version."""

from __future__ import annotations

import click


@click.group()
def db() -> None:
    """Migrate the database, or show its version.

    \b
    blipq db upgrade
    blipq db current
    """


@db.command()
def upgrade() -> None:
    """Bring the database's schema up to this version. Stop the workers of an older version first."""
    from blipq import settings
    from blipq.models import migrate
    from blipq.models.database import open_ledger

    ledger = open_ledger(settings.load())
    before = migrate.state(ledger)
    if before[0] == "newer":
        migrate.check_schema(ledger)
    if before[0] != "current":
        migrate.upgrade(ledger)
    click.echo(f"schema {migrate.HEAD}" + ("" if before[0] == "current" else f" (was {before[1] or 'empty'})"))


@db.command()
def current() -> None:
    """Show the schema's version, and whether this blipq can use it."""
    from blipq import settings
    from blipq.models import migrate
    from blipq.models.database import open_ledger

    found, revision = migrate.state(open_ledger(settings.load()))
    click.echo(f"schema {revision or 'none'}: {found} (this blipq knows {migrate.HEAD})")
