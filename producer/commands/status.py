"""`blipq status`: jobs, queues, workers."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from typing import Any

import click

from blipq.producer.output import duration, emit, emit_json, say

LEAST_ROOM = 1_000_000  # bytes; a full disk takes no line of the log that could say so


@click.command()
@click.argument("job", type=int, required=False)
@click.option("--watch", is_flag=True, help="Look again every second until everything is done.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON on stdout.")
def status(job: int | None, watch: bool, as_json: bool) -> None:
    """Show jobs, queues and workers, or one JOB.

    \b
    blipq status
    blipq status 7 --watch
    """
    from blipq import settings
    from blipq.producer.ledger import open_ready

    asked = settings.load()
    ledger = open_ready(asked)
    while True:
        seen = _look(ledger, asked, job)
        if watch and not as_json:
            click.clear()
        if as_json:
            emit_json(seen)
        else:
            _show(seen, single=job is not None)
        if not watch or not any(j["state"] in ("scanning", "queued", "running") for j in seen["jobs"]):
            return
        time.sleep(1)


def _look(ledger: Any, settings: Any, job: int | None) -> dict[str, Any]:
    from blipq.models import starts
    from blipq.models import status as reading
    from blipq.models.control import NoSuchJob
    from blipq.producer import daemon

    with ledger.read() as connection:
        jobs = reading.jobs(connection, job_id=job)
        workers = [dict(row) for row in reading.workers(connection)]
        paused = reading.paused(connection)
        left = reading.work_left(connection)
        troubles = starts.troubles(connection)
    if job is not None and not jobs:
        raise NoSuchJob(f"no job {job}: `blipq status` lists them")
    running = daemon.running(settings) if settings.embedded else None
    # Nobody is heard of where nobody can write: that says nothing about the workers.
    lost = [worker for worker in workers if worker["state"] == "lost"]
    refusal = ledger.refusal() if lost else None
    if refusal is not None:
        for worker in lost:
            worker["state"] = "halted"
    return {
        "jobs": [asdict(one) | {"rate": one.rate, "remaining": one.remaining} for one in jobs],
        "workers": workers,
        "paused": paused,
        "daemon": None if running is None else running.pid,
        "units_left": left,
        "problem": refusal or _problem(settings, running is not None, left, workers, troubles),
    }


def _problem(
    settings: Any, daemon_runs: bool, left: int, workers: list[dict[str, Any]], troubles: list[Any]
) -> str | None:
    """What keeps the work from going on, in one line."""
    from blipq.producer import daemon
    from blipq.producer.trouble import line

    if settings.database_url is None and shutil.disk_usage(settings.home).free < LEAST_ROOM:
        return f"the disk of {settings.home} is full: make room; work goes on by itself"
    error = daemon.last_error(settings) if settings.embedded else None
    if left and settings.embedded and not daemon_runs:
        said = f"{left:,} units are left and no daemon runs: blipq up --detach"
        return f"{said} (it said: {error})" if error else said
    if left and troubles:
        return "; ".join(line(found) for found in troubles)
    if left and not any(worker["state"] != "lost" for worker in workers) and not settings.embedded:
        return f"{left:,} units are left and no worker is heard of: start `blipq worker` on a host"
    return error if left else None


def _show(seen: dict[str, Any], *, single: bool) -> None:
    columns = ("job", "state", "done", "failed", "left", "had one", "images/s", "took", "model", "what")
    rows = [
        (
            job["id"],
            job["state"],
            job["done"],
            job["failed"],
            job["remaining"],
            job["skipped"],
            job["rate"] if job["kind"] == "caption" else None,
            duration(job["seconds"]) if job["seconds"] is not None else None,
            _short(job["model"]),
            job["source"] if single or len(job["source"]) < 40 else job["source"][:39] + "…",
        )
        for job in seen["jobs"]
    ]
    if rows:
        emit(columns, rows, "table", ("had one", "images/s", "took", "model"))
    else:
        click.echo("no jobs yet: blipq enqueue ./photos")
    for job in seen["jobs"]:
        if job["note"]:
            click.echo(f"job {job['id']}: {job['note']}")
    if seen["workers"]:
        names = ("worker", "state", "device", "model", "images/s", "seen", "note")
        emit(
            names,
            [
                (
                    w["name"],
                    w["state"],
                    w["device"],
                    _short(w["model"]),
                    w["rate"],
                    duration(max(0, w["seen"])),
                    w["note"],
                )
                for w in seen["workers"]
            ],
            "table",
            ("images/s", "model", "device"),
        )
    for queue in seen["paused"]:
        click.echo(f"queue {queue} is paused: blipq resume {queue}")
    if seen["problem"]:
        say(f"Warning: {seen['problem']}")


def _short(model: str | None) -> str | None:
    """A Hub name without the last 33 digits of its commit."""
    name, at, commit = (model or "").rpartition("@")
    return f"{name}@{commit[:7]}" if at and len(commit) == 40 else model
