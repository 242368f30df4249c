"""`blipq bench`: the benchmarks behind docs/performance.md, on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

SCRIPTS = {"caption": "caption.py", "decode": "decode.py", "queue": "throughput.py", "train": "train.py"}


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("what", type=click.Choice(list(SCRIPTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(what: str, arguments: tuple[str, ...]) -> None:
    """Measure WHAT against what people use, taking turns in one run; ARGUMENTS as `blipq bench WHAT --help` lists them.

    \b
    blipq bench caption --model ./blip-base --json
    blipq bench decode
    """
    script = Path(__file__).parents[2] / "benchmarks" / SCRIPTS[what]
    os.execv(sys.executable, [sys.executable, str(script), *arguments])
