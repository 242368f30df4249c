"""From a run's row to the plan that the engine takes: the base's folder, the data, the checkpoints' place."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from blipq.models import comparison, weights
from blipq.models.database import Ledger
from blipq.models.training import RunError
from blipq.models.weights import UnknownModel, Weights
from blipq.settings import Settings

CORRECTED = "sql:"
# What a worker puts into a plan; the rest is the run's own and stands in its row.
PLACES = ("base", "data", "out", "best", "cache", "checkpoint_prefix", "prune")
# Beside the checkpoints: what they learned from, which a resume must find again.
CORRECTIONS, PAIRS = "corrected.jsonl", "pairs.jsonl"


def resolve_base(ledger: Ledger, name: str, expected: str | None) -> Weights:
    """The base's exact weights.

    Raises UnknownModel: also where they are others than when the run was enqueued. HubUnreachable.
    """
    with ledger.write() as connection:
        found = weights.resolve(connection, name)
    if expected is not None and found.id != expected:
        raise UnknownModel(f"the base {name} has other weights than when the run was enqueued: enqueue it again")
    return found


def open_corrections(ledger: Ledger, data: str, folder: Path, *, resumes: bool = False) -> str:
    """The data as the engine takes it: what people wrote of `sql:JOB` is put into a folder.

    A run that begins learns what is in the ledger now; one that resumes finds the rows that it began with.
    Raises RunError where no caption of the job was corrected; NoSuchJob, OSError.
    """
    if not data.startswith(CORRECTED):
        return data
    path = folder / CORRECTIONS
    if not (resumes and path.is_file()):
        number = data.removeprefix(CORRECTED)
        with ledger.read() as connection:
            rows = comparison.corrected(connection, int(number))
        if not rows:
            raise RunError(f"nobody corrected a caption of job {number}: there is nothing to learn from yet")
        lines = (json.dumps({"file_name": name, "text": text}) + "\n" for name, text in rows)
        _put(path, "".join(lines).encode())
    return str(path)


def carry(old: Path, new: Path) -> None:
    """Take along what a run learns from, where it goes on in another folder. Raises OSError."""
    for name in (CORRECTIONS, PAIRS):
        if old != new and (old / name).is_file():
            _put(new / name, (old / name).read_bytes())


def _put(path: Path, content: bytes) -> None:
    """Write a file aside, on to the disk, and rename it: it is whole or not there."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(aside, "xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def engine_plan(
    settings: Settings, plan: dict[str, Any], *, base: Path, data: str, out: Path, prefix: str, best: Path | None = None
) -> dict[str, Any]:
    """The run's plan with the places that it takes on this host. Several runs on one data set share their features."""
    return {
        "devices": [settings.device],
        **plan,
        "base": str(base),
        "data": data,
        "out": str(out),
        "best": None if best is None else str(best),
        "cache": str(settings.home / "features"),
        "checkpoint_prefix": prefix,
        "prune": False,
    }
