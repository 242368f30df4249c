"""`blipq train`: queue fine-tuning."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from blipq.producer.output import duration, emit_json, say

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
DATASET = "ybelkada/football-dataset"
# Options that may be given several times: one run for each combination.
TRIED = (
    "epochs", "lr", "batch_size", "accumulation", "schedule", "warmup", "clip", "weight_decay", "precision", "freeze",
    "image_size", "max_length", "label_smoothing", "patience", "seed",
)  # fmt: skip
RESUMED = ("epochs", "patience", "keep", "checkpoint_every", "devices")  # what a resume may change
SHARE = click.FloatRange(0, 1, max_open=True)
POSITIVE = click.FloatRange(0, 1, min_open=True)


class Validation(click.ParamType):  # type: ignore[type-arg]  # generic in click's stubs alone
    """A share of the pictures, or the name of a split."""

    name = "share|split"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """A number where it is one."""
        try:
            share = float(value)
        except ValueError:
            return str(value)
        return SHARE.convert(share, param, ctx)


class Devices(click.ParamType):  # type: ignore[type-arg]  # generic in click's stubs alone
    """Names of devices, apart by commas."""

    name = "DEVICE,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """One name or more; whether they are there, the worker says."""
        names = [part.strip() for part in str(value).split(",")]
        for name in names:
            if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?|\d+", name):
                self.fail(f"{name}: takes auto, cpu, mps, cuda:0 or a GPU's number, apart by commas", param, ctx)
        return names


def _several(name: str, kind: Any, text: str) -> Callable[[Decorated], Decorated]:
    return click.option(f"--{name}", type=kind, multiple=True, help=text)


@click.command(
    epilog="Exit status: 0 queued (with --wait: trained), 1 a run failed or was cancelled, 2 a usage or set-up error."
)
@click.argument("dataset", required=False)
@click.option("--model", multiple=True, help="The base: a Hub id, a folder, demo, run:3 or an alias.  [BLIPQ_MODEL]")
@_several(
    "epochs",
    click.IntRange(1),
    "Run so many, keep the best; else at most 30 (6 from 1,000 pictures on), with an early stop.",
)
@_several("lr", POSITIVE, "Peak learning rate; by size of data and model if not given.")
@_several("batch-size", click.IntRange(1, 65_536), "Pairs a forward pass.  [8]")
@_several("accumulation", click.IntRange(1, 65_536), "Forward passes a step.  [1]")
@click.option("--validation", type=Validation(), help="Share of the pictures held out, or a split's name.  [0.1]")
@click.option("--split", help="The data's split to learn from.  [train]")
@click.option("--image-column", help="Found by its name or type if not given.")
@click.option("--text-column", help="Found by its name if not given.")
@click.option("--prompt", help="Words that each caption begins with; not learned.")
@_several("schedule", click.Choice(["cosine", "linear", "constant", "cosine-epoch"]), "Of the rate.  [cosine]")
@_several("warmup", SHARE, "Share of the steps in which the rate rises.  [0.05]")
@_several("clip", click.FloatRange(0), "Norm that gradients are clipped to; 0 is off.  [1]")
@_several("weight-decay", click.FloatRange(0), "Of matrices.  [0.05]")
@_several("precision", click.Choice(["auto", "fp32", "bf16", "fp16"]), "Of the arithmetic.  [auto]")
@_several("freeze", click.Choice(["auto", "vision", "decoder", "none"]), "What does not learn.  [vision under 1,000]")
@click.option("--lora", is_flag=True, help="Learn low-rank adapters, merged at each checkpoint (blipq[lora]).")
@click.option("--gradient-checkpointing", is_flag=True, help="Less memory, a third more time, the same gradients.")
@_several("image-size", click.IntRange(16, 1024), "Pixels a side; position embeddings are interpolated.")
@_several("max-length", click.IntRange(3), "Tokens of a caption at the most.  [40]")
@_several("label-smoothing", SHARE, "[0.1]")
@click.option("--augment", is_flag=True, help="Crop, brightness and contrast, lightly; never a flip.")
@_several("patience", click.IntRange(0), "Epochs without a better validation before the end; 0 is off.")
@_several("seed", click.IntRange(0), "[0]")
@click.option("--preset", type=click.Choice(["notebook"]), help="The well-known notebook's hyper-parameters.")
@click.option("--keep", type=click.IntRange(1, 1000), help="Newest checkpoints kept, beside the best.  [2]")
@click.option("--checkpoint-every", type=click.IntRange(1), help="Steps; ten minutes and each best epoch if not given.")
@click.option("--devices", type=Devices(), help="Comma-separated, such as 0,1 or cpu,cpu: one process each.")
@click.option("--resume", type=int, metavar="RUN", help="Go on with a run that is over; DATASET is not given then.")
@click.option("--priority", type=click.Choice(["high", "normal", "low"]), default="normal", show_default=True)
@click.option("--dry-run", is_flag=True, help="Look at data and time, and run nothing.")
@click.option("--wait", is_flag=True, help="Follow to the end.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def train(dataset: str | None, **options: Any) -> None:
    """Fine-tune BLIP on DATASET: a folder or file of photos with captions, a Hub data set (ybelkada/football-dataset
    if none is given), or sql:JOB (captions of JOB that a person corrected). Options that may be given several times
    queue a run for each combination.

    \b
    blipq train ./photos --epochs 50 --wait
    blipq train ./photos --lr 1e-5 --lr 5e-5 && blipq runs
    blipq train --resume 3 --epochs 80
    """
    from blipq import settings
    from blipq.models.training import Run
    from blipq.producer import train as training
    from blipq.producer.ledger import open_ready

    asked = settings.load()
    resume, dry, wait = (options.pop(name) for name in ("resume", "dry_run", "wait"))
    quiet, as_json = options.pop("quiet"), options.pop("as_json")
    ledger = open_ready(asked)
    runs: list[Run]
    if resume is not None:
        runs = [training.go_on(ledger, asked, resume, _changes(dataset, options))]
    else:
        request = _request(dataset or DATASET, options, asked.model)
        if dry:
            for report in training.dry_run(asked, request):
                emit_json(report) if as_json else _describe(report)
            return
        runs = training.enqueue(ledger, asked, request)
    values = [{"run": run.id, "job": run.job_id, "model": run.base, "data": run.data} for run in runs]
    if not wait:
        if as_json:
            emit_json({"runs": values})
        else:
            for run in runs:
                click.echo(f"run {run.id} (job {run.job_id}): {run.base} on {run.data} is queued; blipq runs {run.id}")
        return
    from blipq.producer.follow_run import follow, last_line

    ends = []
    for run in runs:
        ends.append(follow(ledger, asked, run.id, quiet=quiet))
        if not as_json:
            click.echo(last_line(ledger, ends[-1]))
    if as_json:
        from dataclasses import asdict

        emit_json({"runs": [asdict(end) for end in ends]})
    sys.exit(0 if all(end.state == "done" for end in ends) else 1)


def _request(dataset: str, options: dict[str, Any], default_model: str) -> Any:
    from blipq.producer.train import Request

    models = options.pop("model") or (default_model,)
    priority = options.pop("priority")
    tried = {name: options.pop(name) for name in TRIED}
    return Request(dataset, models, tried, _given(options), priority)


def _changes(dataset: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """What a resume changes. Raises UserError for what would break the run's series of losses."""
    from blipq.producer.errors import UserError

    if dataset is not None:
        raise UserError(f"--resume goes on with the run's own data: leave {dataset} out")
    given = {name: value for name, value in _given(options).items() if value != () and name != "priority"}
    wrong = sorted(given.keys() - set(RESUMED))
    several = [name for name, value in given.items() if isinstance(value, tuple) and len(value) > 1]
    if wrong or several:
        takes = ", ".join(f"--{name.replace('_', '-')}" for name in RESUMED)
        raise UserError(f"--resume takes one value each of {takes}, not --{(wrong or several)[0].replace('_', '-')}")
    return {name: value[0] if isinstance(value, tuple) else value for name, value in given.items()}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Options that say something, as the plan takes them."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def _describe(report: dict[str, Any]) -> None:
    seconds, lengths = report["seconds"], report["token_lengths"]
    click.echo(
        f"{report['pictures']:,} pictures with {report['pairs']:,} captions to learn from, "
        f"{report['validation_pictures']:,} held out; captions of {lengths['shortest']} to {lengths['longest']} tokens "
        f"(median {lengths['median']})"
    )
    for sample in report["samples"]:
        click.echo(f"  {sample['name']}: {sample['caption']}")
    for bad in report["bad"]:
        say(f"  {bad['kind']} {bad['name']}: {bad['message']}")
    click.echo(
        f"{report['plan']['epochs']} epochs of {report['steps_an_epoch']:,} steps on {report['device']} in "
        f"{report['precision']}: about {duration(seconds['total'])} ({seconds['step']:.2g} s a step); "
        f"{report['trainable'] / 1e6:.1f} of {report['parameters'] / 1e6:.1f} million parameters learn"
    )
    click.echo(
        f"{report['checkpoint_bytes'] / 1e6:,.0f} MB a checkpoint, {report['feature_bytes'] / 1e6:,.0f} MB of features"
    )
