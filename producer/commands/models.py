"""`blipq models`: what there is to caption with."""

from __future__ import annotations

import click

from blipq.producer.output import emit, emit_json


@click.command()
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def models(model: str | None, as_json: bool) -> None:
    """List models that were used, promoted or trained, or describe MODEL: parameters, size, licence, place, rate.

    \b
    blipq models
    blipq models run:3
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.model_list import describe, listed

    asked = settings.load()
    ledger = open_ready(asked)
    if model is not None:
        facts = describe(ledger, model)
        if as_json:
            emit_json(facts)
        else:
            for name, value in facts.items():
                click.echo(f"{name:18} {value if value is not None else 'not known'}")
        return
    rows = listed(ledger, asked.model)
    if as_json:
        emit_json(rows)
    else:
        columns = ("model", "what", "captions", "images_per_second")
        emit(columns, [[row[name] for name in columns] for row in rows], "table")
