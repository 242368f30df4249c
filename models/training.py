"""Fine-tuning in the ledger: a run's rows from its enqueueing to its end. Who writes results has renewed the lease."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, true, update

from blipq.models import intake
from blipq.models.lease import new_fence
from blipq.models.locks import lock_jobs
from blipq.models.rows import upsert
from blipq.models.schema import alias, checkpoint, db_now, epoch, evaluation, job, loss, remark, run, unit

KEPT = "kept"  # folder of promoted checkpoints
LONGEST_REMARK = 1000  # characters; a unique index holds them


class RunError(Exception):
    """A run that is not there, or cannot be gone on with; one line: what is wrong, what to do."""


@dataclass(frozen=True)
class Run:
    """A run as it was asked for. `plan` lacks what only a worker knows: the folders of base, data and checkpoints."""

    id: int
    job_id: int
    unit_id: int
    base: str
    weights: str | None
    data: str
    plan: dict[str, Any]
    folder: Path | None
    created_at: float


@dataclass(frozen=True)
class Step:
    """An optimizer step: a row of `loss`."""

    step: int
    epoch: float
    loss: float
    unsmoothed: float
    learning_rate: float
    grad_norm: float | None


@dataclass(frozen=True)
class Epoch:
    """A pass over the data: a row of `epoch`."""

    epoch: int
    step: int
    loss: float
    validation_loss: float | None
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Checkpoint:
    """A folder that a run can go on from: a row of `checkpoint`."""

    step: int
    path: Path
    sha256: bytes  # of its model.safetensors
    is_best: bool
    host: str | None = None  # that wrote it, where that is known

    @property
    def is_kept(self) -> bool:
        """Whether it is but the copy of what was promoted: a model, nothing to go on from."""
        return self.path.parent.name == KEPT

    @property
    def run_folder(self) -> Path:
        """The folder of its run that it lies in."""
        return self.path.parent.parent if self.is_kept else self.path.parent


@dataclass(frozen=True)
class RunFolder:
    """A folder that files of a run lie in, and the host that wrote them, where that is known."""

    run: Run
    folder: Path
    host: str | None


@dataclass(frozen=True)
class Figure:
    """A metric with its 95 % bootstrap interval."""

    value: float
    low: float | None = None
    high: float | None = None


def enqueue(
    connection: Connection, *, base: str, weights: str | None, data: str, plan: Mapping[str, Any], priority: int
) -> Run:
    """Queue a run: a job of one unit. `weights` are None where only a worker can reach the Hub."""
    text = json.dumps(dict(plan))
    job_id = intake.open_job(
        connection,
        kind="train",
        source=data,
        model=base,
        recipe_id=None,
        parameters=dict(plan),
        priority=priority,
        total=1,
    )
    unit_id = connection.execute(
        insert(unit).values(job_id=job_id, queue="train", state="queued", pictures=1).returning(unit.c.id)
    ).scalar_one()
    values = {"job_id": job_id, "unit_id": unit_id, "base": base, "weights": weights, "data": data, "plan": text}
    run_id = connection.execute(insert(run).values(**values).returning(run.c.id)).scalar_one()
    intake.close_job(connection, job_id)
    return read(connection, run_id=run_id)


def read(connection: Connection, *, run_id: int | None = None, job_id: int | None = None) -> Run:
    """A run by its own number or its job's. Raises RunError."""
    chosen = run.c.id == run_id if run_id is not None else run.c.job_id == job_id
    row = connection.execute(select(run).where(chosen)).first()
    if row is None:
        number = f"run {run_id}" if run_id is not None else f"run of job {job_id}"
        raise RunError(f"no {number}: `blipq runs` lists them")
    folder = None if row.folder is None else Path(row.folder)
    plan = json.loads(row.plan)
    return Run(row.id, row.job_id, row.unit_id, row.base, row.weights, row.data, plan, folder, row.created_at)


def settle(connection: Connection, run_id: int, *, base: str, weights: str, folder: Path) -> None:
    """A worker begins or goes on: the exact weights that it found, and where the checkpoints lie."""
    values = {"base": base, "weights": weights, "folder": str(folder), "stranded_at": None, "ended_at": None}
    started = func.coalesce(run.c.started_at, db_now())
    connection.execute(update(run).where(run.c.id == run_id).values(**values, started_at=started))


def begin(connection: Connection, run_id: int, *, plan: Mapping[str, Any], pictures: int, steps: int) -> None:
    """Note what the run turned out to be once its data was counted: `plan` with every choice made."""
    values = {"plan": json.dumps(dict(plan)), "pictures": pictures, "steps": steps}
    connection.execute(update(run).where(run.c.id == run_id).values(**values))


def note(connection: Connection, run_id: int, text: str | None) -> None:
    """Say what a run is doing."""
    connection.execute(update(run).where(run.c.id == run_id).values(note=text))


def end(connection: Connection, run_id: int, text: str | None) -> None:
    """A run is over; `text` says why it ended as it did."""
    connection.execute(update(run).where(run.c.id == run_id).values(note=text, stranded_at=None, ended_at=db_now()))


def rewind(connection: Connection, run_id: int, step: int) -> None:
    """Delete what came after a step, so that losses read as one unbroken series once the run goes on from it.

    Checkpoints stay listed until there is a newer one: see `supersede`.
    """
    for table in (loss, epoch):
        connection.execute(delete(table).where(table.c.run_id == run_id, table.c.step > step))
    connection.execute(delete(evaluation).where(evaluation.c.run_id == run_id))
    if not step:
        connection.execute(delete(remark).where(remark.c.run_id == run_id))


def add_steps(connection: Connection, run_id: int, steps: Sequence[Step]) -> None:
    """Rows of `loss`."""
    if steps:
        connection.execute(insert(loss), [{"run_id": run_id, **asdict(step)} for step in steps])


def add_epoch(connection: Connection, run_id: int, passed: Epoch) -> None:
    """A row of `epoch`; one that a stopped run judges again replaces the older."""
    metrics = json.dumps(dict(passed.metrics)) if passed.metrics else None
    values = {**asdict(passed), "metrics": metrics}
    statement = upsert(connection, epoch).values(run_id=run_id, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["run_id", "epoch"], set_=values))


def supersede(connection: Connection, owner: Run, step: int) -> list[Checkpoint]:
    """Take out the checkpoints after the step that a run went on from: it is about to have a newer one.

    Returns those taken out. What was promoted stays listed, where its copy was put.
    """
    over = [one for one in checkpoints(connection, owner.id) if one.step > step and not one.is_kept]
    for one in over:
        _take_out(connection, owner, one)
    return over


def add_checkpoint(connection: Connection, owner: Run, saved: Checkpoint, best_step: int | None = None) -> None:
    """A row of `checkpoint`; crashes count anew from here. `best_step` names the best where it is another."""
    best = saved.step if saved.is_best else best_step
    if best is not None:
        is_best = checkpoint.c.step == best
        connection.execute(update(checkpoint).where(checkpoint.c.run_id == owner.id).values(is_best=is_best))
    values = {"path": str(saved.path), "host": saved.host, "sha256": saved.sha256, "is_best": saved.is_best}
    statement = upsert(connection, checkpoint).values(run_id=owner.id, step=saved.step, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["run_id", "step"], set_=values))
    connection.execute(update(unit).where(unit.c.id == owner.unit_id).values(crashes=0, lapses=0))


def tidy(connection: Connection, owner: Run, keep: int) -> list[Path]:
    """Delete all rows of checkpoints but the newest `keep` and the best; newest first, the folders that are left.

    Once this is committed, other folders may go: never before, or a killed worker leaves rows that lead nowhere. A
    promoted one's row stays, and leads to the copy that was kept.
    """
    lock(connection, owner.id)
    left = []
    for place, saved in enumerate(one for one in checkpoints(connection, owner.id) if not one.is_kept):
        if place < keep or saved.is_best:
            left.append(saved.path)
        else:
            _take_out(connection, owner, saved)
    return left


def _take_out(connection: Connection, owner: Run, saved: Checkpoint) -> None:
    """Delete a checkpoint's row; where a copy of it was kept, let it lead there, whatever host that is on."""
    row = (checkpoint.c.run_id == owner.id, checkpoint.c.step == saved.step)
    is_promoted = exists().where(alias.c.model == f"run:{owner.id}@{saved.step}")
    copy = kept_folder(saved.path, saved.step)
    if copy.is_dir() or connection.scalar(select(is_promoted)):
        connection.execute(update(checkpoint).where(*row).values(path=str(copy)))
    else:
        connection.execute(delete(checkpoint).where(*row))


def kept_folder(saved: Path, step: int) -> Path:
    """Where the copy of a promoted checkpoint lies, beside it and out of reach of the run's own tidying."""
    return saved if saved.parent.name == KEPT else saved.parent / KEPT / f"{step:08d}"


def checkpoints(connection: Connection, run_id: int) -> list[Checkpoint]:
    """A run's checkpoints, newest first."""
    rows = connection.execute(
        select(checkpoint).where(checkpoint.c.run_id == run_id).order_by(checkpoint.c.step.desc())
    )
    return [Checkpoint(row.step, Path(row.path), bytes(row.sha256), row.is_best, row.host) for row in rows]


def folders(connection: Connection, job_id: int) -> list[RunFolder]:
    """All folders that the ledger knows of a job's run, on whatever host."""
    if connection.scalar(select(run.c.id).where(run.c.job_id == job_id)) is None:
        return []
    owner = read(connection, job_id=job_id)
    hosts: dict[Path, str | None] = {} if owner.folder is None else {owner.folder: None}
    for saved in checkpoints(connection, owner.id):
        hosts[saved.run_folder] = saved.host or hosts.get(saved.run_folder)
    return [RunFolder(owner, folder, host) for folder, host in hosts.items()]


def add_evaluation(
    connection: Connection, run_id: int | None, *, data: str, model: str, figures: Mapping[str, Figure], pictures: int
) -> None:
    """Rows of `evaluation`, one a metric."""
    rows = [
        {"run_id": run_id, "data": data, "model": model, "metric": metric, "pictures": pictures, **asdict(figure)}
        for metric, figure in figures.items()
    ]
    if rows:
        connection.execute(insert(evaluation), rows)


def add_remark(connection: Connection, run_id: int, kind: str, name: str | None, message: str) -> None:
    """Something a person should know of a run, or of one of its pictures; said twice it is one row."""
    values = {"run_id": run_id, "kind": kind, "name": name or "", "message": message[:LONGEST_REMARK]}
    unique = ["run_id", "kind", "name", "message"]
    connection.execute(upsert(connection, remark).values(**values).on_conflict_do_nothing(index_elements=unique))


def crashes(connection: Connection, unit_id: int) -> int:
    """How often a unit's process died since its last checkpoint."""
    return int(connection.execute(select(unit.c.crashes).where(unit.c.id == unit_id)).scalar_one())


def reopen(connection: Connection, run_id: int, changes: Mapping[str, Any]) -> Run:
    """Queue a run that is over again: it goes on from its newest checkpoint, with some of its plan changed.

    Raises RunError where there is none, or where it is not over.
    """
    owner = read(connection, run_id=run_id)
    state = lock_jobs(connection, job.c.id == owner.job_id, true())[owner.job_id]
    owner = read(connection, run_id=run_id)  # as whoever held it left it
    if state not in ("done", "failed", "cancelled"):
        raise RunError(f"run {run_id} is {state}: `blipq cancel {owner.job_id}` first, or wait")
    plan = {**owner.plan, **changes}
    connection.execute(
        update(unit)
        .where(unit.c.id == owner.unit_id)
        .values(state="queued", worker_id=None, done=0, failed=0, crashes=0, lapses=0, run_after=0, fence=new_fence())
    )
    again = {"state": "queued", "ended_at": None, "note": None, "run_after": 0, "parameters": json.dumps(plan)}
    connection.execute(update(job).where(job.c.id == owner.job_id).values(**again))
    connection.execute(
        update(run).where(run.c.id == run_id).values(plan=json.dumps(plan), note=None, stranded_at=None, ended_at=None)
    )
    return read(connection, run_id=run_id)


def promote(connection: Connection, name: str, *, model: str, weights: str) -> None:
    """Let a name stand for exact weights from now on, in place of those that it stood for."""
    values = {"model": model, "weights": weights, "created_at": db_now()}
    statement = upsert(connection, alias).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def lock(connection: Connection, run_id: int) -> None:
    """Keep a run's checkpoints as they are until the transaction ends: nobody tidies, promotes or forgets them.

    Raises RunError.
    """
    if connection.scalar(select(run.c.id).where(run.c.id == run_id).with_for_update(key_share=True)) is None:
        raise RunError(f"no run {run_id}: `blipq runs` lists them")
