"""`blipq evaluate`: models side by side on pictures with captions."""

from __future__ import annotations

from typing import Any

import click

from blipq.producer.output import emit, emit_json, say


@click.command()
@click.option("--data", required=True, help="As DATASET of `blipq train`: all its pictures are captioned.")
@click.option("--model", "models", multiple=True, help="Several times: the first is what the others are compared with.")
@click.option("--split", default="train", show_default=True, help="Of data that has several.")
@click.option("--image-column", help="Found by its name or type if not given.")
@click.option("--text-column", help="Found by its name if not given.")
@click.option("--prompt", default="", help="Words that each caption begins with; not scored.")
@click.option("--num-beams", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--max-new-tokens", type=click.IntRange(1, 400), default=40, show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def evaluate(data: str, models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Score captions of models by COCO's metrics, with 95 % bootstrap intervals; the figures are stored.

    \b
    blipq evaluate --data ./held-out --model Salesforce/blip-image-captioning-base --model run:3
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.train import ask, check_data

    asked = settings.load()
    ledger = open_ready(asked)
    question = {
        "data": check_data(ledger, data),
        "models": models or (asked.model,),
        "device": asked.device,
        **options,
    }
    answer = ask("blipq.worker.evaluation", question)
    if as_json:
        emit_json(answer)
        return
    columns, rows = table(answer["models"])
    emit(columns, rows, "table")
    click.echo(f"{answer['pictures']:,} pictures of {data}; [95 % intervals by 1,000 bootstrap samples]")
    for warning in answer["warnings"]:
        say(f"Warning: {warning}")


def table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the models' figures, and how far each but the first is from the first.

    What could not be computed says so in its row: for METEOR, how to install it.
    """
    names = dict.fromkeys(name for one in found.values() for name in (*one["metrics"], *one["missing"]))
    first, *others = found
    columns = ["metric", *found, *(f"{model} - {first}" for model in others)]
    rows = [
        [name, _figure(found[first]["metrics"], name) or found[first]["missing"].get(name, "")]
        + [_figure(found[model]["metrics"], name) for model in others]
        + [_figure(found[model]["differences"], name) for model in others]
        for name in names
    ]
    return columns, rows


def _figure(metrics: dict[str, Any], name: str) -> str:
    if name not in metrics:
        return ""
    metric = metrics[name]
    return f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"
