"""From a run's row to the plan that the engine takes: the base's folder, the data, the checkpoints' place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blipq.models import comparison, weights
from blipq.models.database import Ledger
from blipq.models.training import RunError
from blipq.models.weights import UnknownModel, Weights
from blipq.settings import Settings

CORRECTED = "sql:"
# What a worker puts into a plan; the rest is the run's own and stands in its row.
PLACES = ("base", "data", "out", "cache", "checkpoint_prefix", "prune")


def resolve_base(ledger: Ledger, name: str, expected: str | None) -> Weights:
    """The base's exact weights.

    Raises UnknownModel: also where they are others than when the run was enqueued. HubUnreachable.
    """
    with ledger.write() as connection:
        found = weights.resolve(connection, name)
    if expected is not None and found.id != expected:
        raise UnknownModel(f"the base {name} has other weights than when the run was enqueued: enqueue it again")
    return found


def open_corrections(ledger: Ledger, data: str, folder: Path) -> str:
    """The data as the engine takes it: `sql:JOB` is written into a folder once, so that a resume finds the same rows.

    Raises RunError where no caption of the job was corrected; NoSuchJob.
    """
    if not data.startswith(CORRECTED):
        return data
    path = folder / "corrected.jsonl"
    if not path.is_file():
        number = data.removeprefix(CORRECTED)
        with ledger.read() as connection:
            rows = comparison.corrected(connection, int(number))
        if not rows:
            raise RunError(f"nobody corrected a caption of job {number}: there is nothing to learn from yet")
        aside = path.with_suffix(".partial")
        with open(aside, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"file_name": name, "text": text}) + "\n" for name, text in rows)
        aside.replace(path)
    return str(path)


def engine_plan(
    settings: Settings, plan: dict[str, Any], *, base: Path, data: str, out: Path, prefix: str
) -> dict[str, Any]:
    """The run's plan with the places that it takes on this host. Several runs on one data set share their features."""
    return {
        "devices": [settings.device],
        **plan,
        "base": str(base),
        "data": data,
        "out": str(out),
        "cache": str(settings.home / "features"),
        "checkpoint_prefix": prefix,
        "prune": False,
    }
