"""`blipq doctor`: check what blipq needs."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from blipq.producer.output import emit_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def doctor(as_json: bool) -> None:
    """Check Python, torch and device, database, broker, workers, model, photos, disk and memory; say what to do.

    Exit status: 0 all is well, 1 something is not.

    \b
    blipq doctor
    blipq doctor --json
    """
    from blipq import settings
    from blipq.producer.checks import run_checks

    found = []
    for check in run_checks(settings.load()):
        found.append(check)
        if not as_json:
            mark = click.style("ok ", fg="green") if check.holds else click.style("BAD", fg="red")
            click.echo(f"{mark} {check.name:9} {check.found}")
            if not check.holds:
                click.echo(f"    {'':9} -> {check.do}")
    if as_json:
        emit_json([asdict(check) for check in found])
    sys.exit(0 if all(check.holds for check in found) else 1)
