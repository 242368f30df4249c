"""Jobs under `/v1`: queue folders or uploads, look, follow, read results, cancel."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from blipq.models import control, job_results, status
from blipq.models.control import ENDED, NoSuchJob
from blipq.models.intake import JobCancelled
from blipq.models.status import JobStatus
from blipq.producer import enqueue as enqueueing
from blipq.producer.enqueue import Enqueued
from blipq.producer.enqueue import Request as Wanted
from blipq.producer.serve import house as houses
from blipq.producer.serve import kept
from blipq.producer.serve.forms import allow_model, below, read_pictures, said_of
from blipq.producer.serve.house import House
from blipq.producer.serve.openapi import form_schema, problems
from blipq.producer.serve.shapes import (
    MOST_PICTURES,
    Cancelled,
    Job,
    JobAsked,
    JobMade,
    Number,
    Result,
    Results,
    UploadAsked,
)

EVENT_SECONDS = 0.5
QUIET_SECONDS = 15.0  # after which a comment keeps proxies from closing the stream
MOST_STREAMS = 200
router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_log = logging.getLogger(__name__)
_streams = 0

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": JobAsked.model_json_schema()},
            "multipart/form-data": {"schema": form_schema(UploadAsked, "images", many=True)},
        },
    }
}


@router.post("", status_code=202, responses=problems(413, 415, 422), openapi_extra=_BODY)
async def create(request: Request) -> JobMade:
    """Queue paths of the server (JSON), or uploaded pictures (multipart), which are kept in $BLIPQ_HOME/uploads.

    Paths must lie below a folder of BLIPQ_ROOTS. The answer comes as soon as the job has its number: a large folder is
    then still being read.
    """
    house = houses.of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with read_pictures(request, UploadAsked, MOST_PICTURES) as (pictures, asked):
            model = allow_model(asked, house.settings.model, await house.models())
            wanted = Wanted((), model, _recipe(asked.recipe()), priority=asked.priority)
            return JobMade(job=await kept.enqueue(house, pictures, wanted))
    if kind != "application/json":
        raise HTTPException(415, "send JSON with paths, or pictures as multipart/form-data")
    try:
        job = JobAsked.model_validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, said_of(error.errors())) from None
    model = allow_model(job, house.settings.model, await house.models())
    paths = tuple(_allowed(house, path) for path in job.paths)
    wanted = Wanted(paths, model, _recipe(job.recipe()), mode=job.mode, priority=job.priority)
    return JobMade(job=await _enqueue(house, wanted))


@router.get("", responses=problems(422))
async def listed(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> list[Job]:
    """Jobs, newest first."""
    return [shown(job) for job in await houses.of(request).read(lambda c: status.jobs(c, limit=limit))]


@router.get("/{job}", responses=problems(404, 422))
async def read(request: Request, job: Number) -> Job:
    """Where a job stands."""
    return shown(await _find(houses.of(request), job))


@router.get(
    "/{job}/results",
    response_model=Results,
    responses=problems(404, 422)
    | {200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "a page, or all"}},
)
async def results(
    request: Request,
    job: Number,
    after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    format: Annotated[Literal["json", "ndjson"], Query(description="ndjson: all of them, a line each")] = "json",
) -> Results | Response:
    """A job's captions and failures: a page of JSON, or all as NDJSON (also by `Accept: application/x-ndjson`)."""
    house = houses.of(request)
    if format == "ndjson" or "application/x-ndjson" in request.headers.get("accept", ""):
        await _find(house, job)
        return StreamingResponse(_lines(house, job, after), media_type="application/x-ndjson")
    rows = await house.read(lambda c: list(job_results.results(c, job, after, limit + 1)))
    page = rows[:limit]
    return Results(results=[Result(**row) for row in page], next=page[-1]["id"] if len(rows) > limit else None)


@router.post("/{job}/cancel", responses=problems(404, 422))
async def cancel(request: Request, job: Number) -> Cancelled:
    """Take back what a job has left to do; what a worker holds ends with its present batch, unwritten."""
    left = await houses.of(request).write(lambda connection: control.cancel(connection, job))
    return Cancelled(job=job, cancelled=left)


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses=problems(404, 422)
    | {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "server-sent events"}},
)
async def events(request: Request, job: Number) -> StreamingResponse:
    """Server-sent events: `progress` with the job whenever it changed, `end` with it when it is over."""
    global _streams
    house = houses.of(request)
    first = await _find(house, job)
    if _streams >= MOST_STREAMS:
        raise HTTPException(503, f"{MOST_STREAMS} callers are listening already", {"retry-after": "10"})

    async def stream() -> AsyncIterator[str]:
        global _streams
        _streams += 1
        try:
            async for part in _events(house, first):
                yield part
        finally:
            _streams -= 1

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def shown(job: JobStatus) -> Job:
    """A job as the API tells it."""
    return Job(**asdict(job), rate=job.rate, remaining=job.remaining)


async def _find(house: House, job: int) -> JobStatus:
    found = await house.read(lambda connection: status.jobs(connection, job_id=job))
    if not found:
        raise NoSuchJob(f"no job {job}")
    return found[0]


def _recipe(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in ("paths", "mode", "priority")}


def _allowed(house: House, path: str) -> str:
    found = below(path, house.settings.roots)
    if found is None:
        raise HTTPException(403, "a path is not there, or lies below no folder of BLIPQ_ROOTS")
    return found


async def _enqueue(house: House, wanted: Wanted) -> int:
    """Enqueue in a thread, and answer when the job has its number."""
    loop = asyncio.get_running_loop()
    numbered: asyncio.Future[int] = loop.create_future()

    def tell(number: int) -> None:
        if not numbered.done():
            numbered.set_result(number)

    def progress(so_far: Enqueued) -> None:
        if so_far.job is not None:
            loop.call_soon_threadsafe(tell, so_far.job)

    def run() -> None:
        try:
            answer = enqueueing.enqueue(house.ledger, house.settings, wanted, progress)
            enqueueing.call(house.settings, answer.units)
        except Exception as error:
            loop.call_soon_threadsafe(fail, error)

    def fail(error: Exception) -> None:
        if not numbered.done():
            numbered.set_exception(error)
        elif not isinstance(error, JobCancelled):
            _log.error("a folder was not read to its end: %s", error)

    house.spawn(run_in_threadpool(run))
    return await numbered


def _lines(house: House, job: int, after: int) -> Iterator[str]:
    with house.ledger.read() as connection:
        for row in job_results.results(connection, job, after, None):
            yield json.dumps(row, ensure_ascii=False) + "\n"


async def _events(house: House, job: JobStatus) -> AsyncIterator[str]:
    said, quiet = "", 0.0
    while True:
        data = shown(job).model_dump_json(exclude={"seconds", "rate"})
        if data != said:
            over = job.state in ENDED
            yield f"event: {'end' if over else 'progress'}\ndata: {shown(job).model_dump_json()}\n\n"
            if over:
                return
            said, quiet = data, 0.0
        elif quiet >= QUIET_SECONDS:
            yield ": still there\n\n"
            quiet = 0.0
        await asyncio.sleep(EVENT_SECONDS)
        quiet += EVENT_SECONDS
        try:
            job = await _find(house, job.id)
        except NoSuchJob:  # a picture's, forgotten after its answer
            return
