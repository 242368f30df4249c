"""Reading training back: where runs stand, how they rank, and all that one of them wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select, text

from blipq.models.schema import alias, checkpoint, db_now, epoch, evaluation, job, loss, remark, run
from blipq.models.training import RunError

ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class RunStatus:
    """A run and its last rows."""

    run: int
    job: int
    state: str
    base: str
    data: str
    pictures: int | None
    steps: int | None  # planned
    step: int  # done
    epochs: int | None  # planned
    epoch: float  # done, with the part of the present one
    loss: float | None
    unsmoothed: float | None
    learning_rate: float | None
    validation_loss: float | None  # of the last epoch
    best_step: int | None
    note: str | None
    seconds: float | None  # since its first claim, until its end

    @property
    def over(self) -> bool:
        """Whether nothing more will come by itself."""
        return self.state in ENDED


def status(connection: Connection, run_id: int) -> RunStatus:
    """Where a run stands. Raises RunError."""
    row = connection.execute(
        select(run, job.c.state, job.c.note.label("job_note"), (func.coalesce(run.c.ended_at, db_now())).label("until"))
        .join(job, job.c.id == run.c.job_id)
        .where(run.c.id == run_id)
    ).first()
    if row is None:
        raise RunError(f"no run {run_id}: `blipq runs` lists them")
    last = connection.execute(select(loss).where(loss.c.run_id == run_id).order_by(loss.c.step.desc()).limit(1)).first()
    passed = connection.execute(
        select(epoch).where(epoch.c.run_id == run_id).order_by(epoch.c.epoch.desc()).limit(1)
    ).first()
    best = connection.scalar(
        select(func.max(checkpoint.c.step)).where(checkpoint.c.run_id == run_id, checkpoint.c.is_best)
    )
    return RunStatus(
        run=row.id,
        job=row.job_id,
        state=row.state,
        base=row.base,
        data=row.data,
        pictures=row.pictures,
        steps=row.steps,
        step=last.step if last else 0,
        epochs=json.loads(row.plan).get("epochs"),
        epoch=last.epoch if last else 0.0,
        loss=last.loss if last else None,
        unsmoothed=last.unsmoothed if last else None,
        learning_rate=last.learning_rate if last else None,
        validation_loss=passed.validation_loss if passed else None,
        best_step=best,
        note=row.job_note or row.note,
        seconds=None if row.started_at is None else row.until - row.started_at,
    )


def of_job(connection: Connection, job_id: int) -> int | None:
    """The run that a training job does."""
    return connection.scalar(select(run.c.id).where(run.c.job_id == job_id))


def leaderboard(connection: Connection) -> list[RowMapping]:
    """All runs as the view ranks them: by data, the lowest validation loss first, those without one last."""
    query = text(
        "SELECT leaderboard.*, run.job_id AS job FROM leaderboard JOIN run ON run.id = leaderboard.run"
        " ORDER BY leaderboard.data, leaderboard.validation_loss IS NULL, leaderboard.validation_loss, leaderboard.run"
    )
    return list(connection.execute(query).mappings())


def steps(connection: Connection, run_id: int) -> list[RowMapping]:
    """A run's rows of `loss`, in order."""
    return list(connection.execute(select(loss).where(loss.c.run_id == run_id).order_by(loss.c.step)).mappings())


def epochs(connection: Connection, run_id: int, since: int = 0) -> list[dict[str, Any]]:
    """A run's rows of `epoch` after one, in order; `metrics` by name."""
    query = select(epoch).where(epoch.c.run_id == run_id, epoch.c.epoch > since).order_by(epoch.c.epoch)
    return [
        {**row, "metrics": json.loads(row["metrics"]) if row["metrics"] else {}}
        for row in connection.execute(query).mappings()
    ]


def checkpoints(connection: Connection, run_id: int) -> list[RowMapping]:
    """A run's checkpoints with the names that they were promoted to, in order."""
    query = (
        select(checkpoint.c.step, checkpoint.c.path, checkpoint.c.is_best, alias.c.name.label("promoted_as"))
        .outerjoin(alias, alias.c.model == f"run:{run_id}@" + checkpoint.c.step.cast(alias.c.model.type))
        .where(checkpoint.c.run_id == run_id)
        .order_by(checkpoint.c.step)
    )
    return list(connection.execute(query).mappings())


def remarks(connection: Connection, run_id: int, since: int = 0) -> list[dict[str, Any]]:
    """What a person should know of a run, in the order in which it was said."""
    query = select(remark).where(remark.c.run_id == run_id, remark.c.id > since).order_by(remark.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def grouped(remarks: list[dict[str, Any]]) -> list[tuple[str, str, list[str]]]:
    """Kind, message and the names that it is said of: a thousand captions that were cut are one remark."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in remarks:
        found.setdefault((row["kind"], row["message"]), []).extend([row["name"]] if row["name"] else [])
    return [(*said, names) for said, names in found.items()]


def evaluations(connection: Connection, run_id: int) -> dict[str, dict[str, dict[str, Any]]]:
    """A run's own figures on its held-out pictures: model, then metric, then its row."""
    query = select(evaluation).where(evaluation.c.run_id == run_id).order_by(evaluation.c.id)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["model"], {})[row["metric"]] = dict(row)
    return found
