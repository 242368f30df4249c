"""`blipq watch`: caption what is new in folders, as long as it runs."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import click

from blipq.producer.commands.recipe_options import recipe_options, request_of
from blipq.producer.output import emit_json, say


@click.command(epilog="Exit status: 0 stopped by Ctrl-C or SIGTERM, 2 usage or set-up error.")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...")
@recipe_options
@click.option("--quiet", "-q", is_flag=True, help="Say nothing of jobs.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON on stdout for each job.")
def watch(folders: tuple[str, ...], quiet: bool, as_json: bool, **options: Any) -> None:
    """Caption the photos of folders now, and new or changed ones as they settle, until Ctrl-C.

    What came while nothing watched is found at the start. Moved, copied and newly tagged photos keep their captions:
    what counts is what they show.

    \b
    blipq watch ./photos
    blipq watch /srv/photos /srv/scans --model run:3 --num-beams 3 --priority low
    """
    from threading import Event

    from blipq import settings
    from blipq.producer.ledger import open_ready
    from blipq.producer.watch import watch as watch_folders

    asked = settings.load()
    watched = tuple(str(Path(folder).expanduser().absolute()) for folder in folders)
    request = request_of((), {**options, "watched": watched}, asked.model)
    ledger = open_ready(asked)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    total = 0

    def told(answer: Any) -> None:
        nonlocal total
        total += answer.queued
        if as_json:
            emit_json({"job": answer.job, "found": answer.found, "queued": answer.queued})
        elif not quiet:
            say(f"job {answer.job}: {answer.queued:,} of {answer.found:,} photos queued")

    if not quiet:
        say(f"watching {' '.join(watched)}; Ctrl-C ends it")
    watch_folders(ledger, asked, request, stop, told)
    if not quiet:
        say(f"stopped; {total:,} photos were queued, and what waits is captioned as long as workers run")
