"""`POST /v1/caption`: a picture in, its caption out. The worker batches it with everybody else's, before theirs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from blipq.models import control, upload
from blipq.models.upload import Answer, Received
from blipq.producer.enqueue import Request as Wanted
from blipq.producer.enqueue import call
from blipq.producer.serve import house as houses
from blipq.producer.serve.forms import allow_model, file_name, read_pictures
from blipq.producer.serve.house import House
from blipq.producer.serve.openapi import form, problems
from blipq.producer.serve.shapes import CaptionAsked, CaptionMade

MOST_WAITING = 256
LOOK_SECONDS = 1.0  # between two looks whether workers can begin
GRACE_SECONDS = 5.0  # after the caller's limit, the sweeper cancels what a server that died has left
_STATUS = {"too-big": 413, "unsupported": 415}
router = APIRouter(tags=["captions"])
_waiting = 0

_RESPONSES = problems(413, 415, 422, 499, 500, 503, 504)
_FORM = form(CaptionAsked, "image", many=False)


@router.post("/v1/caption", responses=_RESPONSES, openapi_extra=_FORM)
@router.post("/caption", include_in_schema=False)
async def caption(request: Request) -> CaptionMade:
    """Caption one picture. Nothing of it is kept but the caption itself, by the picture's content."""
    global _waiting
    if _waiting >= MOST_WAITING:
        raise HTTPException(503, f"{MOST_WAITING} pictures are waiting already: try again", {"retry-after": "1"})
    _waiting += 1
    try:
        async with read_pictures(request, CaptionAsked, 1) as (pictures, asked):
            return await _caption(request, houses.of(request), pictures[0], asked)
    finally:
        _waiting -= 1


async def _caption(request: Request, house: House, picture: UploadFile, asked: CaptionAsked) -> CaptionMade:
    if (picture.size or 0) > house.settings.max_bytes:
        raise HTTPException(413, f"more than {house.settings.max_bytes:,} bytes: see BLIPQ_MAX_BYTES")
    model = allow_model(asked, house.settings.model, await house.models())
    recipe = asked.recipe()
    del recipe["timeout"]
    pinned, recipe_id = await house.recipe(Wanted((), model, recipe))
    data = await picture.read()
    name = file_name(picture.filename)
    parameters: dict[str, Any] = {"mode": "fill", "recipe": recipe}
    received = await house.write(
        lambda connection: upload.receive(
            connection,
            data,
            name,
            model=pinned,
            recipe_id=recipe_id,
            parameters=parameters,
            deadline_in=asked.timeout + GRACE_SECONDS,
        )
    )
    try:
        answer = await _wait(request, house, received, asked.timeout)
    except HTTPException:
        await house.write(lambda connection: control.cancel(connection, received.job_id))
        raise
    finally:
        house.answered.append(received.job_id)
    return _said(answer, pinned)


async def _wait(request: Request, house: House, received: Received, seconds: float) -> Answer:
    """Wait for the job's end.

    Raises HTTPException where the caller gets no caption: out of time, gone, or no worker can begin.
    """
    ended = asyncio.create_task(house.answers.wait(received))
    gone = asyncio.create_task(_disconnected(request))
    house.spawn(run_in_threadpool(call, house.settings, [received.unit_id]))  # a slow broker delays no answer
    try:
        until = time.monotonic() + seconds
        while True:
            left = max(0.0, until - time.monotonic())
            await asyncio.wait((ended, gone), timeout=min(left, LOOK_SECONDS), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            if gone.done():
                raise HTTPException(499, "the caller went away")
            trouble = await house.trouble("caption")
            if trouble is not None and trouble.repeated:
                raise HTTPException(503, f"{trouble}: the picture was taken back", {"retry-after": "30"})
            if left <= LOOK_SECONDS:
                why = "" if trouble is None else f" ({trouble})"
                raise HTTPException(504, f"no caption within {seconds:g} s{why}: the picture was taken back")
    finally:
        ended.cancel()
        gone.cancel()
        await asyncio.gather(ended, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _said(answer: Answer, model: str) -> CaptionMade:
    if answer.caption is not None:
        return CaptionMade(caption=answer.caption, score=answer.score, flag=answer.flag, model=model)
    if answer.kind is not None:
        raise HTTPException(_STATUS.get(answer.kind, 422), f"{answer.kind}: {answer.message}")
    raise HTTPException(503, answer.note or f"the job {answer.state} without a caption")
