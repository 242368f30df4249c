"""Queueing fine-tuning: a data set, a base and hyper-parameters become a run for each combination."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from blipq.models import comparison, training, weights
from blipq.models.database import Ledger
from blipq.models.schema import PRIORITIES
from blipq.models.training import Run
from blipq.models.weights import HubUnreachable, Weights
from blipq.producer import enqueue as enqueueing
from blipq.producer.errors import UserError
from blipq.settings import Settings

MOST_RUNS = 100  # at once: more is a slip of the keyboard
_CORRECTED = re.compile(r"^sql:(\d+)$")
_HUB = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")


@dataclass(frozen=True)
class Request:
    """What a person asked for. Every list of `options` is a hyper-parameter with the values to try."""

    data: str
    models: tuple[str, ...]
    options: Mapping[str, Sequence[Any]]
    fixed: Mapping[str, Any]
    priority: str = "normal"

    def plans(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Base and plan of each combination."""
        names = [name for name, values in self.options.items() if values]
        for model, *values in product(self.models, *(self.options[name] for name in names)):
            yield model, {**self.fixed, **dict(zip(names, values, strict=True))}


def enqueue(ledger: Ledger, settings: Settings, request: Request) -> list[Run]:
    """Queue a run for each combination, all or none.

    Raises UserError, UnknownModel, LedgerError.
    """
    plans = list(request.plans())
    if len(plans) > MOST_RUNS:
        raise UserError(f"that makes {len(plans)} runs: at most {MOST_RUNS} at once")
    data = check_data(ledger, request.data)
    bases = {model: _resolve(ledger, settings, model) for model in request.models}
    with ledger.write() as connection:
        runs = [
            training.enqueue(
                connection,
                base=bases[model].pinned,
                weights=bases[model].id or None,
                data=data,
                plan=plan,
                priority=PRIORITIES[request.priority],
            )
            for model, plan in plans
        ]
    call(settings)
    return runs


def go_on(ledger: Ledger, settings: Settings, run_id: int, changes: Mapping[str, Any]) -> Run:
    """Queue a run that is over again. Raises RunError."""
    run = ledger.transact(lambda connection: training.reopen(connection, run_id, changes))
    call(settings)
    return run


def call(settings: Settings) -> None:
    """Start the local daemon where the broker is ours. Nobody rings: sweepers find the run within 2 s."""
    enqueueing.call(settings, ())


def check_data(ledger: Ledger, data: str) -> str:
    """The data by a name that any folder understands: an absolute path, a Hub id, `sql:JOB`. Raises UserError."""
    corrected = _CORRECTED.match(data)
    if corrected:
        with ledger.read() as connection:
            if not comparison.corrected(connection, int(corrected[1])):
                raise UserError(f"nobody corrected a caption of job {corrected[1]}: there is nothing to learn from yet")
        return data
    path = Path(data).expanduser()
    if path.exists():
        return str(path.absolute())
    if not _HUB.match(data):
        raise UserError(
            f"{data} is not there: give a folder of photos with captions, a .jsonl, .csv or .parquet file, "
            "a Hub data set as OWNER/NAME, or sql:JOB"
        )
    return data


def dry_run(settings: Settings, request: Request) -> Iterator[dict[str, Any]]:
    """What each run would be, measured by three of its steps in a process of its own.

    Raises UserError: what is wrong, in the line that the run itself would end with.
    """
    for model, plan in request.plans():
        yield ask("blipq.worker.dry_run", {"data": request.data, "model": model, "plan": plan})


def ask(module: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """Put a question to a process that may use torch: JSON on stdin, its last line on stdout is the answer.

    Raises UserError with what the process says is wrong.
    """
    command = [sys.executable, "-P", "-m", module]
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ  # as training runs: its threads do not spin at barriers
    done = subprocess.run(
        command, input=json.dumps(dict(question)), stdout=subprocess.PIPE, text=True, check=False, env=environment
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise UserError(f"{module} ended with {done.returncode} and no answer: its last lines say why") from None
    if "error" in answer:
        raise UserError(answer["error"])
    return answer


def _resolve(ledger: Ledger, settings: Settings, model: str) -> Weights:
    """Exact weights; where only workers can reach the Hub, the name as it is."""
    try:
        with ledger.write() as connection:
            return weights.resolve(connection, model)
    except HubUnreachable:
        if settings.embedded:
            raise
        return Weights("", model)
