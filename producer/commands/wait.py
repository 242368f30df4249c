"""What `--wait` does at the end: follow, report, and choose the exit status."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from blipq.models import status
from blipq.models.database import Ledger
from blipq.producer.follow import follow, last_line
from blipq.producer.output import emit_json, say
from blipq.settings import Settings

LISTED = 20


def finish(ledger: Ledger, settings: Settings, job_id: int, values: dict[str, Any] | None, *, quiet: bool) -> int:
    """Follow a captioning job; 0 when all is captioned, 1 when some failed. `values`: what `--json` prints besides."""
    job = follow(ledger, settings, job_id, quiet=quiet)
    with ledger.read() as connection:
        failures = status.failures(connection, job_id, limit=LISTED) if job.failed else []
    if values is not None:
        emit_json({**values, **asdict(job), "job": job_id})
    else:
        if not quiet:
            for row in failures:
                say(f"failed {row['path']}: {row['message']}")
            if job.failed > len(failures):
                say(f"and {job.failed - len(failures):,} more")
        click.echo(last_line(job))
    return 0 if job.state == "done" and not job.failed else 1
