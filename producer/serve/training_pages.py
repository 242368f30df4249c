"""Training runs with their curves, and two models' captions side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from blipq.models import gallery, runs
from blipq.producer.figures import METRICS
from blipq.producer.serve import house as houses
from blipq.producer.serve.charts import Line, chart
from blipq.producer.serve.pages import render

PAGE = 40
router = APIRouter()
Id = Annotated[int | None, Query(ge=1, le=2**63 - 1)]


@router.get("/runs")
async def listed(request: Request) -> Response:
    """Every run, the best of each data set first."""
    return render(request, "runs.html", runs=await houses.of(request).read(runs.leaderboard))


@router.get("/runs/{number}")
async def run(request: Request, number: int) -> Response:
    """A run with its loss and metrics, live."""
    if not 0 < number < 2**31:
        raise HTTPException(404, f"there is no run {number}")

    def look(connection: Connection) -> dict[str, Any]:
        found = runs.status(connection, number)
        steps, epochs = runs.steps(connection, number), runs.epochs(connection, number)
        losses = [
            Line("training", [(row["step"], row["unsmoothed"]) for row in steps], smooth=True),
            Line("validation", [(e["step"], e["validation_loss"]) for e in epochs if e["validation_loss"] is not None]),
        ]
        names = dict.fromkeys(name for e in epochs for name in e["metrics"])
        metrics = [
            Line(METRICS.get(n, n), [(e["step"], e["metrics"][n]) for e in epochs if n in e["metrics"]]) for n in names
        ]
        figures = runs.evaluations(connection, number)
        return {
            "run": found,
            "loss": chart("Loss by step", losses),
            "rate": chart("Learning rate by step", [Line("rate", [(r["step"], r["learning_rate"]) for r in steps])]),
            "metrics": chart("Metrics by step", metrics) if metrics else None,
            "epochs": epochs,
            "names": list(names),
            "labels": METRICS,
            "figures": figures,
            "measured": list(dict.fromkeys(name for row in figures.values() for name in row)),
            "checkpoints": runs.checkpoints(connection, number),
            "remarks": runs.grouped(runs.remarks(connection, number)),
        }

    return render(request, "run.html", **await houses.of(request).read(look))


@router.get("/compare")
async def compare(
    request: Request, first: Id = None, second: Id = None, changed: bool = False, before: Id = None
) -> Response:
    """What two recipes' models said of the same photos."""

    def look(connection: Connection) -> dict[str, Any]:
        recipes = gallery.recipes(connection)
        by_id = {row.id: row for row in recipes}
        other = by_id.get(second or 0) or next(iter(recipes), None)  # the newest, and the most used of the rest
        rest = [row for row in recipes if row is not other]
        one = by_id.get(first or 0) or max(rest, key=lambda row: row.captions, default=None)
        if one is None or other is None:
            return {"recipes": recipes, "one": None, "other": None, "pairs": [], "both": 0, "same": 0}
        found = gallery.pairs(connection, one.id, other.id, changed=changed, before=before, limit=PAGE + 1)
        both, same = gallery.agreement(connection, one.id, other.id)
        return {"recipes": recipes, "one": one, "other": other, "pairs": found, "both": both, "same": same}

    values = await houses.of(request).read(look)
    more = values["pairs"][PAGE - 1].photo.file_id if len(values["pairs"]) > PAGE else None
    values["pairs"] = values["pairs"][:PAGE]
    return render(request, "compare.html", changed=changed, more=more, **values)
