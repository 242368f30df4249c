"""`blipq results`: captions, or a job's failures."""

from __future__ import annotations

import click

from blipq.producer.output import FORMATS, emit

SPARE = ("created_at", "source", "prompt", "model", "attempts", "job", "score", "flag")


@click.command()
@click.argument("job", type=int, required=False)
@click.option("--failed", is_flag=True, help="The failures, with their reasons.")
@click.option("--flagged", is_flag=True, help="Only captions that look wrong: empty, repeated, echo, cut, unsure.")
@click.option("--limit", type=click.IntRange(min=1), help="Rows at the most.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
def results(job: int | None, failed: bool, flagged: bool, limit: int | None, form: str, as_json: bool) -> None:
    """Print captions: of JOB, else the current one of each photo.

    \b
    blipq results 3 --format csv > captions.csv
    blipq results 3 --failed
    """
    from blipq import settings
    from blipq.models import reading
    from blipq.producer.ledger import open_ready

    ledger = open_ready(settings.load())
    with ledger.read() as connection:
        if failed:
            columns, rows = reading.failed(connection, job, limit)
        elif job is not None:
            columns, rows = reading.of_job(connection, job, flagged=flagged, limit=limit)
        else:
            columns, rows = reading.current(connection, flagged=flagged, limit=limit)
        emit(columns, rows, "jsonl" if as_json else form, SPARE)
