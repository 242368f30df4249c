"""`blipq runs` and `blipq promote`: training runs, ranked, looked at, and given a name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from blipq.producer.output import duration, emit, emit_json, tell

COLUMNS = ("validation_loss", "best_step", "bleu_4", "cider_d", "rouge_l", "meteor")


@click.command()
@click.argument("run", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def runs(run: int | None, as_json: bool) -> None:
    """Rank training runs by the validation loss on their data, or show all of one RUN.

    \b
    blipq runs
    blipq runs 3
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready

    ledger = open_ready(settings.load())
    if run is None:
        _leaderboard(ledger, as_json)
    else:
        _one(ledger, run, as_json)


@click.command()
@click.argument("run")
@click.option("--as", "name", default="promoted", show_default=True, help="The name that it goes by from now on.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def promote(run: str, name: str, as_json: bool) -> None:
    """Give the best checkpoint of RUN (3, run:3, or run:3@1200 for a step) a name: `--model NAME` everywhere.

    \b
    blipq promote 3 --as football
    blipq enqueue ./photos --model football
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.share import promote as give_name

    found = give_name(open_ready(settings.load()), run, name)
    if as_json:
        emit_json({"name": name, "model": found.pinned, "weights": found.id})
    else:
        click.echo(f"{name} is {found.pinned} from now on: blipq enqueue ./photos --model {name}")


def _leaderboard(ledger: Any, as_json: bool) -> None:
    from blipq.models import runs as reading

    with ledger.read() as connection:
        rows = [dict(row) for row in reading.leaderboard(connection)]
    plans = [json.loads(row.pop("plan")) for row in rows]
    if as_json:
        emit_json({"runs": [{**row, "plan": plan} for row, plan in zip(rows, plans, strict=True)]})
        return
    if not rows:
        click.echo("no runs yet: blipq train ./photos")
        return
    tried = [name for name in dict.fromkeys(name for plan in plans for name in plan) if _differs(plans, name)]
    emit(
        ("run", "state", *(name.replace("_", " ") for name in COLUMNS), "what differs", "base", "data"),
        [
            (
                row["run"],
                row["state"],
                *(round(row[name], 4) if isinstance(row[name], float) else row[name] for name in COLUMNS),
                ", ".join(f"{name}={plan[name]}" for name in tried if plan.get(name) is not None),
                row["base"],
                row["data"],
            )
            for row, plan in zip(rows, plans, strict=True)
        ],
        "table",
        ("rouge l", "bleu 4", "best step", "meteor", "base", "cider d"),
    )


def _differs(plans: list[dict[str, Any]], name: str) -> bool:
    """Whether runs that say something of a hyper-parameter say different things."""
    return len({json.dumps(plan[name]) for plan in plans if plan.get(name) is not None}) > 1


def _one(ledger: Any, run_id: int, as_json: bool) -> None:
    from blipq.models import runs as reading
    from blipq.models import training

    with ledger.read() as connection:
        run = reading.status(connection, run_id)
        plan = training.read(connection, run_id=run_id).plan
        epochs = reading.epochs(connection, run_id)
        points = [dict(row) for row in reading.checkpoints(connection, run_id)]
        figures = reading.evaluations(connection, run_id)
        remarks = reading.remarks(connection, run_id)
    if as_json:
        scores = {
            model: {name: {key: row[key] for key in ("value", "low", "high", "pictures")} for name, row in rows.items()}
            for model, rows in figures.items()
        }
        said = [{name: row[name] for name in ("kind", "name", "message")} for row in remarks]
        rest = {"plan": plan, "epochs": epochs, "checkpoints": points, "evaluation": scores, "remarks": said}
        emit_json({**asdict(run), **rest})
        return
    took = f", {duration(run.seconds)}" if run.seconds is not None else ""
    steps = f"step {run.step:,} of {run.steps:,}" if run.steps else "not begun"
    click.echo(f"run {run.run} (job {run.job}): {run.state}, {steps}{took}{f', {run.note}' if run.note else ''}")
    click.echo(f"{run.base} on {run.data}")
    tell(", ".join(f"{name}={value}" for name, value in plan.items() if value not in (None, False, "")))
    if epochs:
        columns = ("epoch", "step", "loss", "validation_loss", "seconds")
        emit(columns, [[row[name] for name in columns] for row in epochs], "table")
    if figures:
        models = list(figures)
        metrics = dict.fromkeys(name for rows in figures.values() for name in rows)
        emit(
            ("metric", *models),
            [[name, *(_figure(figures[model].get(name)) for model in models)] for name in metrics],
            "table",
        )
    if points:
        emit(tuple(points[0]), [list(point.values()) for point in points], "table")
    for kind, message, names in reading.grouped(remarks):
        of = f" ({', '.join(names[:3])}{f' and {len(names) - 3:,} more' if len(names) > 3 else ''})" if names else ""
        tell(f"{kind}: {message}{of}")


def _figure(row: Any) -> str | None:
    return None if row is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
