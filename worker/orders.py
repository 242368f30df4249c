"""Orders: a captioning job as a worker carries it out, with its model's name resolved to exact weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, select, update

from blipq.models import recipes, weights
from blipq.models.database import Ledger
from blipq.models.lease import DueJob
from blipq.models.recipes import Recipe
from blipq.models.schema import job
from blipq.worker.engine.decoding import Decoding

_DECODING = {field.name for field in fields(Decoding)} & {field.name for field in fields(Recipe)}


@dataclass(frozen=True)
class Kind:
    """What pictures must share to be in one batch: weights, decoding and precision. Prompts may differ."""

    weights: str
    model: str  # a name that leads to these weights
    decoding: Decoding
    precision: str


@dataclass(frozen=True)
class Order:
    """A job's part in the work: its kind of batch, its recipe, and what to do with captions that exist."""

    job_id: int
    priority: int
    recipe_id: int
    prompt: str
    seed: int
    kind: Kind
    again: bool  # caption what has a caption, and write over it
    batch_size: int | None
    sources: tuple[str, ...]  # the paths that were enqueued


def read_order(ledger: Ledger, due: DueJob) -> Order:
    """The order behind a due job. A name on the Hub is resolved to its commit once, by whoever comes first.

    Raises weights.UnknownModel, weights.HubUnreachable.
    """
    with ledger.read() as connection:
        parameters = json.loads(connection.execute(select(job.c.parameters).where(job.c.id == due.job_id)).scalar_one())
        known = None if due.recipe_id is None else recipes.read(connection, due.recipe_id)
    if known is None or due.recipe_id is None:
        with ledger.write() as connection:
            recipe_id, asked = settle_recipe(connection, due.job_id, due.model, parameters)
    else:
        recipe_id, asked = due.recipe_id, known
    with ledger.read() as connection:
        model = connection.execute(select(job.c.model).where(job.c.id == due.job_id)).scalar_one()
    decoding = replace(Decoding(**{name: getattr(asked, name) for name in _DECODING}), seed=0)
    return Order(
        job_id=due.job_id,
        priority=due.priority,
        recipe_id=recipe_id,
        prompt=asked.prompt,
        seed=asked.seed,
        kind=Kind(asked.weights, model, decoding, parameters.get("precision", "auto")),
        again=parameters.get("mode") == "replace",
        batch_size=parameters.get("batch_size"),
        sources=tuple(parameters.get("paths", ())),
    )


def settle_recipe(connection: Connection, job_id: int, model: str, parameters: dict[str, Any]) -> tuple[int, Recipe]:
    """Resolve a job's model, and write the recipe that follows into the job's row; a worker that was first is right."""
    found = weights.resolve(connection, model)
    asked = Recipe(weights=found.id, **parameters.get("recipe", {}))
    recipe_id = recipes.record(connection, asked, found.pinned)
    unsettled = (job.c.id == job_id) & job.c.recipe_id.is_(None)
    connection.execute(update(job).where(unsettled).values(recipe_id=recipe_id, model=found.pinned))
    first = connection.scalar(select(job.c.recipe_id).where(job.c.id == job_id))
    if first not in (None, recipe_id):
        return int(first), recipes.read(connection, first)
    return recipe_id, asked


def describe(decoding: Decoding) -> str:
    """A short name of a way to decode, for logs."""
    default = asdict(Decoding())
    changed = {name: value for name, value in asdict(decoding).items() if value != default[name]}
    return ", ".join(f"{name}={value}" for name, value in changed.items()) or "greedy"
