"""`blipq demo`: the whole machine on two dozen drawn scenes, offline."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from blipq.producer.output import emit, emit_json, say

SCENES = 24


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), help="Where to draw; $BLIPQ_HOME/demo if not given.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def demo(folder: Path | None, seed: int, as_json: bool) -> None:
    """Draw 24 scenes, caption them with the bundled demo checkpoint, and show what SQL says.

    The checkpoint is a tiny BLIP that knows drawn scenes alone: it shows the machine, not what BLIP sees in a photo.

    \b
    blipq demo
    blipq demo --folder ./scenes --seed 2
    """
    from blipq import settings
    from blipq.demo.scenes import write_folder
    from blipq.producer import enqueue as enqueueing
    from blipq.producer.follow import follow, last_line
    from blipq.producer.ledger import open_ready

    asked = settings.load()
    ledger = open_ready(asked)
    folder = folder or asked.home / "demo"
    say(f"drawing {SCENES} scenes into {folder}")
    write_folder(folder, "scenes", SCENES, seed, held_out=True)
    with open(folder / "metadata.jsonl", encoding="utf-8") as lines:
        truth = {row["file_name"]: row["text"] for row in map(json.loads, lines)}
    say(f"$ blipq enqueue {folder} --model demo --mode replace --wait")
    request = enqueueing.Request((str(folder),), "demo", mode="replace")
    answer = enqueueing.enqueue(ledger, asked, request, lambda _: None)
    assert answer.job is not None
    enqueueing.call(asked, answer.units)
    job = follow(ledger, asked, answer.job)
    query = f"select path, caption from results where job = {answer.job} order by path"
    with ledger.read() as connection:
        said = {Path(path).name: caption for path, caption in connection.exec_driver_sql(query)}
    right = sum(said.get(name) == caption for name, caption in truth.items())
    if as_json:
        captions = [{"picture": name, "caption": said.get(name), "truth": caption} for name, caption in truth.items()]
        emit_json(
            {**asdict(job), "job": job.id, "folder": str(folder.absolute()), "right": right, "captions": captions}
        )
    else:
        shown = {name: "the same" if said.get(name) == caption else caption for name, caption in truth.items()}
        emit(("picture", "caption", "truth"), [(name, said.get(name), true) for name, true in shown.items()], "table")
        click.echo(last_line(job))
        click.echo(f"{right} of {SCENES} word for word; none of these captions was in the checkpoint's training.")
        click.echo(f'\nThe captions are rows now:\n  blipq sql "{query}"')
        if ledger.sqlite_path is not None:
            click.echo(f'  sqlite3 {ledger.sqlite_path} "{query}"')
    sys.exit(0 if job.state == "done" and not job.failed else 1)
