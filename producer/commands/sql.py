"""`blipq sql`: a person's own query."""

from __future__ import annotations

import click

from blipq.producer.output import FORMATS, emit


@click.command()
@click.argument("query")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
def sql(query: str, form: str, as_json: bool) -> None:
    """Run QUERY on the ledger, read-only. Views: photos, results, failures, jobs, training_curve, leaderboard.

    \b
    blipq sql "select path, caption from results where caption like '%dog%'"
    blipq sql "select kind, count(*) from failures group by kind"
    """
    from blipq import settings
    from blipq.models.reading import run_query
    from blipq.producer.ledger import open_ready

    ledger = open_ready(settings.load())
    with ledger.read() as connection:
        columns, rows = run_query(connection, query)
        emit(columns, rows, "jsonl" if as_json else form)
