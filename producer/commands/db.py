"""`blipq db`: the schema's version."""

from __future__ import annotations

import click

from blipq.producer.output import emit_json


@click.group()
def db() -> None:
    """Migrate the database, or show its version.

    \b
    blipq db upgrade
    blipq db current
    """


@db.command()
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def upgrade(as_json: bool) -> None:
    """Bring the database's schema up to this version. Workers of the version before may go on meanwhile."""
    from blipq import settings
    from blipq.models import migrate
    from blipq.models.database import open_ledger

    ledger = open_ledger(settings.load())
    state, before = migrate.state(ledger)
    if state == "newer":
        migrate.check_schema(ledger)
    if state != "current":
        migrate.upgrade(ledger)
    if as_json:
        emit_json({"schema": migrate.HEAD, "was": before})
    else:
        click.echo(f"schema {migrate.HEAD}" + ("" if state == "current" else f" (was {before or 'empty'})"))


@db.command()
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def current(as_json: bool) -> None:
    """Show the schema's version, and whether this blipq can use it."""
    from blipq import settings
    from blipq.models import migrate
    from blipq.models.database import open_ledger

    state, revision = migrate.state(open_ledger(settings.load()))
    if as_json:
        emit_json({"schema": revision, "state": state, "knows": migrate.HEAD})
    else:
        click.echo(f"schema {revision or 'none'}: {state} (this blipq knows {migrate.HEAD})")
