"""Checkpoints: a folder that plain `from_pretrained` loads, and one file with what a resume needs beside it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.network import Network
from blipq.worker.engine.training.plan import Plan

WEIGHTS = "model.safetensors"
STATE = "training.safetensors"

# What may differ between a run and its resume; the rest would break its series of losses.
MAY_CHANGE = frozenset((
    "out", "best", "epochs", "patience", "keep", "prune", "checkpoint_every", "checkpoint_prefix", "cache", "devices",
    "base", "data",
))  # fmt: skip


@dataclass
class Standing:
    """Where a run stands. Learning rate, dropout and order of the data are functions of the step: no state is kept."""

    step: int = 0
    epoch: int = 0  # the epoch under way, from 0
    row: int = 0  # its steps done
    loss: float = 0.0  # its unsmoothed loss, summed over tokens
    tokens: int = 0
    seconds: float = 0.0  # its seconds so far
    spent: float = 0.0  # the run's seconds so far
    micro: int | None = None  # pairs that fit into memory at once, where they did not all
    best: float | None = None  # the best epoch's validation loss, or its CIDEr negated: lower is better
    best_loss: float | None = None
    best_step: int = 0
    best_name: str = ""  # of its folder
    stale: int = 0  # epochs since
    scale: float | None = None  # of the fp16 scaler
    grown: int = 0


def name(plan: Plan, step: int) -> str:
    """The folder of a step's checkpoint, inside `out`."""
    return f"{plan.checkpoint_prefix}{step:08d}"


def write(plan: Plan, network: Network, moments: dict[str, torch.Tensor], standing: Standing) -> tuple[Path, str]:
    """Write a checkpoint aside, on to the disk, and rename it; its folder and the sha256 of its weights.

    Raises TrainingError: the disk is full or cannot be written; older checkpoints are untouched.
    """
    out = Path(plan.out)
    final = out / name(plan, standing.step)
    aside = out / f".{final.name}.partial"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        network.model.config.architectures = ["BlipForConditionalGeneration"]
        network.model.config.save_pretrained(aside)
        network.model.generation_config.save_pretrained(aside)
        network.processor().save_pretrained(aside)
        weights = {name: weight.detach().cpu().contiguous() for name, weight in network.weights().items()}
        save_file(weights, aside / WEIGHTS, metadata={"format": "pt"})
        state = {name: moment.cpu().contiguous() for name, moment in moments.items()}
        values = {"standing": asdict(standing), "plan": plan.to_json()}
        save_file(state, aside / STATE, metadata={"run": json.dumps(values)})
        digest = _sha256(aside / WEIGHTS)
        for file in aside.iterdir():
            _sync(file)
        _sync(aside)
        if final.exists():  # written before the epoch was judged, or by a worker that was killed
            older = final.with_name(f"{final.name}-older")
            shutil.rmtree(older, ignore_errors=True)
            final.rename(older)  # still a whole checkpoint, should we be killed between the two renames
            aside.rename(final)
            shutil.rmtree(older)
        else:
            aside.rename(final)
        _sync(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(
            "disk",
            f"the checkpoint of step {standing.step} could not be written to {out} ({error}): free some room "
            "and retry; the run goes on from the one before",
        ) from None
    return final, digest


def read(folder: Path, plan: Plan) -> tuple[dict[str, torch.Tensor], Standing]:
    """The moments and the standing of a checkpoint.

    Raises TrainingError: it is not whole, or belongs to a run of another plan.
    """
    try:
        values = _values(folder)
        moments = load_file(folder / STATE)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError("usage", f"{folder} is no checkpoint to resume from: {error}") from None
    now = plan.to_json()
    changed = [
        f"{name} was {json.dumps(was)}, is {json.dumps(now[name])}"
        for name, was in values["plan"].items()
        if name in now and name not in MAY_CHANGE and json.dumps(was) != json.dumps(now[name])
    ]
    if changed:
        raise TrainingError("usage", f"a resume cannot change the run: {'; '.join(changed)}; start a new one")
    return moments, Standing(**values["standing"])


def checkpoints(out: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest step first."""
    found: list[tuple[int, float, Path]] = []
    for state in out.glob(f"*/{STATE}"):
        if not state.parent.name.startswith("."):
            step = int(_values(state.parent)["standing"]["step"])
            found.append((step, state.stat().st_mtime, state.parent))
    return [path for _, _, path in sorted(found)]


def prune(out: Path, keep: int, best: str) -> None:
    """Delete all but the newest `keep` and the best."""
    for path in checkpoints(out)[:-keep]:
        if path.name != best:
            shutil.rmtree(path)


def clear(out: Path) -> None:
    """Delete what a killed run left half written."""
    for path in out.glob(".*.partial"):
        shutil.rmtree(path, ignore_errors=True)


def size(network: Network) -> int:
    """Bytes of a checkpoint: fp32 weights, and two moments of what learns."""
    weights = sum(weight.numel() for weight in network.weights().values())
    return 4 * (weights + 2 * sum(weight.numel() for weight in network.learning().values())) + 2_000_000


def demand_room(plan: Plan, each: int, features: int) -> None:
    """See before the start that all checkpoints that will lie there at once, and the features, find room.

    Raises TrainingError: there is too little.
    """
    out = Path(plan.out)
    lying = sum(file.stat().st_size for path in checkpoints(out) for file in path.iterdir())
    count = plan.keep + 2  # the newest, the best, and one being written
    need = max(0, count * each - lying) + features
    free = shutil.disk_usage(out).free
    if free < need:
        raise TrainingError(
            "disk",
            f"{out} has {free / 1e9:.1f} GB free and the run needs {need / 1e9:.1f} GB "
            f"({count} checkpoints of {each / 1e9:.2f} GB): free some room, or lower --keep",
        )


def _values(folder: Path) -> dict[str, Any]:
    with safe_open(folder / STATE, "pt") as file:
        values: dict[str, Any] = json.loads(file.metadata()["run"])
    return values


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
