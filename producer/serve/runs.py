"""Training runs under `/v1/runs`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request

from blipq.models import runs
from blipq.producer.serve import house as houses
from blipq.producer.serve.openapi import problems
from blipq.producer.serve.shapes import Loss, Number, Run, RunStatus

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("", responses=problems())
async def listed(request: Request) -> list[Run]:
    """All runs: by data, the lowest validation loss first."""
    rows = await houses.of(request).read(runs.leaderboard)
    return [Run.model_validate({name: row[name] for name in Run.model_fields}) for row in rows]


@router.get("/{run}", responses=problems(404, 422))
async def read(request: Request, run: Number) -> RunStatus:
    """Where a run stands, with its metrics by epoch."""
    house = houses.of(request)
    found = await house.read(lambda connection: runs.status(connection, run))
    epochs = await house.read(lambda connection: runs.epochs(connection, run))
    return RunStatus(**asdict(found), metrics=epochs)


@router.get("/{run}/losses", responses=problems(404, 422))
async def losses(request: Request, run: Number, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0) -> list[Loss]:
    """The steps of a run behind one, in order."""
    house = houses.of(request)
    await house.read(lambda connection: runs.status(connection, run))
    rows = await house.read(lambda connection: runs.steps(connection, run))
    return [Loss(**{name: row[name] for name in Loss.model_fields}) for row in rows if row["step"] > after]
