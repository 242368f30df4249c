"""`blipq plot` and `blipq show`: curves and photos as figures."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import click

from blipq.producer.output import emit_json

OUT = click.option(
    "--out", "-o", "paths", type=click.Path(path_type=Path), multiple=True, help=".png or .svg; may be given twice."
)


class Grid(click.ParamType):  # type: ignore[type-arg]  # generic in click's stubs alone
    """Rows x columns."""

    name = "ROWSxCOLUMNS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Two numbers from 1 to 20."""
        found = re.fullmatch(r"(\d+)[x×](\d+)", str(value))
        if found is None or not all(1 <= int(part) <= 20 for part in found.groups()):
            self.fail(f"{value}: takes rows x columns, such as 2x3", param, ctx)
        return int(found[1]), int(found[2])


@click.command()
@click.argument("run", type=int)
@OUT
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def plot(run: int, paths: tuple[Path, ...], as_json: bool) -> None:
    """Draw the losses, learning rate and metrics of RUN; into run-RUN.png if no --out is given.

    \b
    blipq plot 3
    blipq plot 3 -o curves.svg
    """
    from blipq import settings
    from blipq.models import runs
    from blipq.producer.figures import EpochRow, StepRow, plot_run
    from blipq.producer.ledger import open_ready

    with open_ready(settings.load()).read() as connection:
        status = runs.status(connection, run)
        steps = [
            StepRow(row["step"], row["loss"], row["unsmoothed"], row["learning_rate"])
            for row in runs.steps(connection, run)
        ]
        epochs = [
            EpochRow(row["epoch"], row["step"], row["validation_loss"], row["metrics"])
            for row in runs.epochs(connection, run)
        ]
    paths = paths or (Path(f"run-{run}.png"),)
    plot_run(f"run {run}: {_short(status.base)} on {_short(status.data)}", steps, epochs, paths)
    _tell(paths, {"run": run} if as_json else None)


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="JOB [JOB] | DATASET")
@click.option("--grid", type=Grid(), default="2x3", show_default=True, help="Rows x columns.")
@OUT
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def show(what: tuple[str, ...], grid: tuple[int, int], paths: tuple[Path, ...], as_json: bool) -> None:
    """Draw photos with their captions: of a JOB, of two jobs beside each other, or of a DATASET to look into it.

    \b
    blipq show 4 --grid 2x3 -o captions.png
    blipq show 4 7 -o base-and-tuned.png
    blipq show ybelkada/football-dataset
    """
    from blipq.producer.photo_grid import show_grid

    rows, columns = grid
    with tempfile.TemporaryDirectory(prefix="blipq-show-") as scratch:
        if all(part.isdigit() for part in what) and len(what) <= 2:
            title, tiles = _of_jobs([int(part) for part in what], rows * columns)
        else:
            title, tiles = _of_data(" ".join(what), rows * columns, Path(scratch))
        paths = paths or (Path("photos.png"),)
        show_grid(title, tiles, columns, paths)
    _tell(paths, {"title": title, "photos": len(tiles)} if as_json else None)


def _of_jobs(jobs: list[int], count: int) -> tuple[str, list[Any]]:
    from blipq import settings
    from blipq.models import comparison, reading
    from blipq.producer.ledger import open_ready
    from blipq.producer.photo_grid import Tile

    ledger = open_ready(settings.load())
    with ledger.read() as connection:
        models = [_short(model) for model in comparison.models(connection, *jobs)]
        if len(jobs) == 1:
            names, rows = reading.of_job(connection, jobs[0], limit=count)
            listed = [dict(zip(names, row, strict=True)) for row in rows]
            tiles = [Tile(Path(row["path"]), [("", row["caption"])]) for row in listed]
            return f"job {jobs[0]}: {models[0]}", tiles
        pairs = comparison.compare(connection, *jobs)
    # What changed comes first: that is what one looks for.
    pairs = sorted(pairs, key=lambda pair: not pair.changed)[:count]
    tiles = [Tile(Path(pair.path), [(models[0], pair.before), (models[1], pair.after)]) for pair in pairs]
    return f"job {jobs[0]} and job {jobs[1]}", tiles


def _of_data(data: str, count: int, scratch: Path) -> tuple[str, list[Any]]:
    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.photo_grid import Tile
    from blipq.producer.train import ask, check_data

    found = check_data(open_ready(settings.load()), data)
    answer = ask("blipq.worker.samples", {"data": found, "count": count, "folder": str(scratch)})
    tiles = [Tile(Path(one["picture"]), [("", text) for text in one["captions"]]) for one in answer["samples"]]
    return f"{_short(data)}: {answer['pictures']:,} rows", tiles


def _tell(paths: tuple[Path, ...], values: dict[str, Any] | None) -> None:
    """The files that were drawn: a line each, or JSON with what there is to say besides."""
    if values is not None:
        emit_json({**values, "files": [str(path.absolute()) for path in paths]})
        return
    for path in paths:
        click.echo(path)


def _short(name: str) -> str:
    """A name without folders, and without most of a commit."""
    name, at, commit = (Path(name).name if name.startswith("/") else name).partition("@")
    return f"{name}@{commit[:7]}" if at else name
