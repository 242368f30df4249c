"""What a run can go on from, seen from this host: its newest checkpoint that is there and whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blipq.models import run_folder
from blipq.models.training import Checkpoint, Run

WEIGHTS, STATE = "model.safetensors", "training.safetensors"


@dataclass(frozen=True)
class Reach:
    """A run's checkpoints, sorted by what can be done with them here; each newest first."""

    start: Checkpoint | None = None  # the newest whole one
    best: Path | None = None  # the best that `start` knows of; `start` itself where that one is lost
    absent: tuple[Checkpoint, ...] = ()  # newer than `start`, and not to be seen from here
    damaged: tuple[Checkpoint, ...] = ()  # newer than `start`, with other files than were written


def look(run: Run, saved: Sequence[Checkpoint], here: str) -> Reach:
    """Go through a run's checkpoints, newest first, to one that is whole; 1.2 s a GB of those that are there.

    `here` is this host's name. Files that are not whole are damaged where they are surely the run's own, by the marker
    of their folder or because this host wrote them. Elsewhere a folder of the same name may be a stranger's.
    """
    absent: list[Checkpoint] = []
    damaged: list[Checkpoint] = []
    for one in (one for one in saved if not one.is_kept):
        standing = _standing(one.path / STATE)
        if standing is not None and _sha256(one.path / WEIGHTS) == one.sha256:
            return Reach(one, _best(one, standing, saved), tuple(absent), tuple(damaged))
        ours = one.path.is_dir() and (one.host == here or run_folder.is_own(one.run_folder, run))
        (damaged if ours else absent).append(one)
    return Reach(None, None, tuple(absent), tuple(damaged))


def hidden(saved: Sequence[Checkpoint]) -> Checkpoint | None:
    """The newest checkpoint where it is not to be seen at all: enough to know that a run has to wait, and free."""
    newest = next((one for one in saved if not one.is_kept), None)
    return newest if newest is not None and not newest.path.is_dir() else None


def explain(run: Run, reach: Reach, here: str) -> str:
    """Why a run cannot go on here, and what to do; one line."""
    again = f"then `blipq retry {run.job_id}`"
    if reach.absent:
        one = reach.absent[0]
        elsewhere = one.host is not None and one.host != here
        where = f"on host {one.host}" if elsewhere else "in a folder that is not there"
        share = "put BLIPQ_HOME on storage that all hosts with training workers share"
        rotten = f" (and {len(reach.damaged)} are damaged)" if reach.damaged else ""
        return (
            f"none of the checkpoints of run {run.id} is whole and to be seen from {here}{rotten}: the one of step "
            f"{one.step:,} lies {where} ({one.path}); {f'{share}, or bring that host' if elsewhere else 'bring it'} "
            f"back, {again}"
        )
    one = reach.damaged[0]
    return (
        f"none of the checkpoints of run {run.id} is whole: the files in {one.run_folder} are not those that were "
        f"written; bring them back from a copy, {again}, or start a new run"
    )


def _best(start: Checkpoint, standing: dict[str, Any], saved: Sequence[Checkpoint]) -> Path:
    """The best checkpoint at the time of `start`, if it is whole."""
    for one in saved:
        is_it = one.is_kept or one.path.name == standing.get("best_name")
        if is_it and one.step == standing.get("best_step") and one.step != start.step:
            return one.path if _sha256(one.path / WEIGHTS) == one.sha256 else start.path
    return start.path


def _standing(state: Path) -> dict[str, Any] | None:
    """Where a run stood when it wrote what a resume needs; None where that file is not whole, by its own header."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError), open(state, "rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        size = opened.seek(0, 2)
        if 0 < length <= size - 8:
            opened.seek(8)
            header = json.loads(opened.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            if 8 + length + max(ends, default=0) == size:
                standing: dict[str, Any] = json.loads(header["__metadata__"]["run"])["standing"]
                return standing
    return None


def _sha256(path: Path) -> bytes | None:
    """Of a file of weights; None where it cannot be read."""
    try:
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return None
