"""Jobs, failures, workers and queues, and the upload form."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from blipq.models import control, gallery, runs, starts, status
from blipq.models.control import ENDED, QUEUES
from blipq.models.gallery import Filter
from blipq.models.upload import PREFIX
from blipq.producer import daemon
from blipq.producer.enqueue import Request as Wanted
from blipq.producer.enqueue import call
from blipq.producer.serve import house as houses
from blipq.producer.serve import kept
from blipq.producer.serve.forms import allow_model, read_pictures
from blipq.producer.serve.pages import render, to
from blipq.producer.serve.shapes import MOST_PICTURES, UploadAsked

JOBS = 50
FAILURES = 100
FRESH = 12  # photos that a job's page shows
router = APIRouter()


@router.get("/jobs")
async def jobs(request: Request) -> Response:
    """The newest jobs, live."""
    found = await houses.of(request).read(lambda connection: status.jobs(connection, limit=JOBS))
    shown = [job for job in found if not job.source.startswith(PREFIX)]
    return render(request, "jobs.html", jobs=shown, ended=ENDED)


@router.get("/jobs/{number}")
async def job(request: Request, number: int) -> Response:
    """One job, live, with its newest photos."""
    house = houses.of(request)

    def look(connection: Connection) -> dict[str, Any]:
        found = status.jobs(connection, job_id=_number(number))
        if not found:
            raise HTTPException(404, f"there is no job {number}")
        fresh = gallery.page(connection, Filter(job=number), None, FRESH) if found[0].kind == "caption" else []
        run = runs.of_job(connection, number) if found[0].kind == "train" else None
        trouble = None if found[0].state in ENDED else starts.trouble(connection, found[0].kind)
        return {"job": found[0], "fresh": fresh, "run": run, "paused": status.paused(connection), "trouble": trouble}

    return render(request, "job.html", ended=ENDED, **await house.read(look))


@router.post("/jobs/{number}/cancel")
async def cancel(request: Request, number: int) -> Response:
    """Take back what a job has left to do."""
    await houses.of(request).write(lambda connection: control.cancel(connection, _number(number)))
    return to(f"/jobs/{number}")


@router.post("/jobs/{number}/retry")
async def retry(request: Request, number: int) -> Response:
    """Queue a job's failed photos again, and what was cancelled."""
    house = houses.of(request)
    again = await house.write(lambda connection: control.retry(connection, _number(number), everything=True))
    if again:
        await run_in_threadpool(call, house.settings, [0])
    return to(f"/jobs/{number}")


@router.get("/failures")
async def failures(
    request: Request, job: Annotated[int | None, Query(ge=1)] = None, before: Annotated[int | None, Query(ge=1)] = None
) -> Response:
    """What could not be captioned, why, and a button to try again."""

    def look(connection: Connection) -> dict[str, Any]:
        rows = gallery.failed(connection, job, before, FAILURES + 1)
        kinds = groupby(gallery.failed_jobs(connection), key=lambda row: (row.job, row.source))
        return {
            "rows": rows[:FAILURES],
            "more": rows[FAILURES - 1].id if len(rows) > FAILURES else None,
            "groups": [(number, source, list(found)) for (number, source), found in kinds],
        }

    return render(request, "failures.html", job=job, **await houses.of(request).read(look))


@router.get("/workers")
async def workers(request: Request) -> Response:
    """Workers and queues, live."""
    house = houses.of(request)

    def look(connection: Connection) -> dict[str, Any]:
        open_jobs = status.jobs(connection, limit=1000, only_open=True)
        paused = status.paused(connection)
        kinds = {queue: [job for job in open_jobs if job.kind == queue] for queue in QUEUES}
        return {
            "workers": status.workers(connection),
            "troubles": starts.troubles(connection),
            "queues": [
                (queue, queue in paused, len(found), sum(job.remaining for job in found))
                for queue, found in kinds.items()
            ],
        }

    problem = daemon.last_error(house.settings, since=600) if house.settings.embedded else None
    return render(request, "workers.html", problem=problem, **await house.read(look))


@router.post("/queues/{queue}/{act}")
async def set_queue(request: Request, queue: str, act: str) -> Response:
    """Pause a queue, or let it go on."""
    if queue not in QUEUES or act not in ("pause", "resume"):
        raise HTTPException(404, "there is no such queue")
    house = houses.of(request)
    await house.write(lambda connection: control.set_paused(connection, queue, act == "pause"))
    if act == "resume":
        await run_in_threadpool(call, house.settings, [0])
    return to("/workers")


@router.get("/upload")
async def upload_form(request: Request) -> Response:
    """The form."""
    house = houses.of(request)
    names = [house.settings.model, "demo", *await house.models()]
    return render(request, "upload.html", models=list(dict.fromkeys(names)), most=MOST_PICTURES)


@router.post("/upload")
async def upload(request: Request) -> Response:
    """Keep the pictures, make a job of them, and show it."""
    house = houses.of(request)
    async with read_pictures(request, UploadAsked, MOST_PICTURES) as (pictures, asked):
        model = allow_model(asked, house.settings.model, await house.models())
        recipe = {name: value for name, value in asked.recipe().items() if name != "priority"}
        number = await kept.enqueue(house, pictures, Wanted((), model, recipe, priority=asked.priority))
    return to(f"/jobs/{number}")


def _number(number: int) -> int:
    if not 0 < number < 2**31:
        raise HTTPException(404, f"there is no job {number}")
    return number
