"""`/healthz`, `/readyz` and `/metrics`: for those who watch."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse

from blipq.models import status
from blipq.models.database import LedgerError
from blipq.producer.serve import house as houses
from blipq.producer.serve.metrics import ledger_lines
from blipq.producer.serve.openapi import problems
from blipq.producer.serve.shapes import Ready
from blipq.worker.broker import BrokerError, open_client

router = APIRouter(tags=["probes"])


@router.get("/healthz", responses=problems())
async def healthz() -> dict[Literal["status"], Literal["ok"]]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses=problems() | {503: {"model": Ready, "description": "something is missing"}})
async def readyz(request: Request, response: Response) -> Ready:
    """Database and broker answer. Workers are counted, but one that starts is no reason to send callers away."""
    house = houses.of(request)
    database, broker, workers = "ok", "ok", 0
    try:
        workers = len(await house.read(status.living))
    except LedgerError as error:
        database = str(error)
    try:
        await run_in_threadpool(_ping, house)
    except BrokerError as error:
        broker = str(error)
    ready = database == broker == "ok"
    response.status_code = 200 if ready else 503
    return Ready(ready=ready, database=database, broker=broker, workers=workers)


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=problems() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> PlainTextResponse:
    """Prometheus's text format."""
    house = houses.of(request)
    lines = [*await house.read(ledger_lines), *house.requests.lines()]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


def _ping(house: houses.House) -> None:
    with open_client(house.settings):
        pass
