"""`blipq compare`: which captions changed between two jobs."""

from __future__ import annotations

import click

from blipq.producer.output import FORMATS, emit, emit_json


@click.command()
@click.argument("first", type=int)
@click.argument("second", type=int)
@click.option("--all", "everything", is_flag=True, help="Also photos whose caption is the same.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows at the most.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def compare(first: int, second: int, everything: bool, limit: int | None, form: str, as_json: bool) -> None:
    """Show which captions changed from job FIRST to job SECOND: the models' own, whatever a person made of them.

    \b
    blipq compare 7 8
    blipq compare 7 8 --all --format csv
    """
    from blipq import settings
    from blipq.models import comparison
    from blipq.producer.ledger import open_ready

    with open_ready(settings.load()).read() as connection:
        pairs = comparison.compare(connection, first, second)
        models = comparison.models(connection, first, second)
    shown = [pair for pair in pairs if everything or pair.changed][:limit]
    changed = sum(pair.changed for pair in pairs)
    if as_json:
        rows = [{"path": pair.path, "before": pair.before, "after": pair.after} for pair in shown]
        values = {"photos": len(pairs), "changed": changed}
        emit_json({"jobs": [first, second], "models": models, **values, "captions": rows})
        return
    if shown or form != "table":
        names = [f"{job}: {model}" for job, model in zip((first, second), models, strict=True)]
        columns = ("path", *(names if form == "table" else ("before", "after")))
        emit(columns, [(pair.path, pair.before, pair.after) for pair in shown], form)
    if form == "table":
        click.echo(f"{changed:,} of {len(pairs):,} captions changed")
