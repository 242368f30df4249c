"""What a run reports while it runs: frozen values, one JSON line each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Started:
    """The run as it will be, after the data was counted and every open choice was made."""

    plan: dict[str, Any]
    pictures: int
    pairs: int
    validation_pictures: int
    validation_pairs: int
    steps: int  # of the whole run
    step: int  # done already, when the run is resumed
    trainable: int  # parameters that learn
    parameters: int
    precision: str
    device: str
    devices: int


@dataclass(frozen=True)
class Progress:
    """A sign of life from work that takes no optimizer steps."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Note:
    """Something a person should know; a bad pair names its picture."""

    kind: str
    message: str
    name: str | None = None


@dataclass(frozen=True)
class Step:
    """One optimizer step; losses are means a token over the whole accumulated batch."""

    step: int
    epoch: int
    loss: float  # what is minimised, label smoothing included
    unsmoothed: float  # cross entropy in nats a token: compare runs by this
    lr: float
    grad_norm: float  # before clipping
    seconds: float
    images: int


@dataclass(frozen=True)
class Epoch:
    """One pass over the training pairs; losses are unsmoothed means a token."""

    epoch: int
    step: int
    loss: float
    validation_loss: float | None
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint is complete under its final name."""

    step: int
    path: str
    sha256: str  # of model.safetensors
    is_best: bool
    best_step: int  # of the best so far: this one's, or an older one's


@dataclass(frozen=True)
class Evaluation:
    """Captions of the validation pictures, scored; `model` is `base` or `tuned`."""

    model: str
    step: int
    pictures: int
    metrics: dict[str, dict[str, float]]  # value, low and high of each, by the names of `metrics.LABELS`
    differences: dict[str, dict[str, float]]  # from the base model, resampled in pairs; empty for it
    missing: dict[str, str]  # metrics that were not computed, and why
    warnings: list[str]
    samples: list[dict[str, Any]]  # name, caption, references


@dataclass(frozen=True)
class Stopped:
    """The run was asked to stop and did, after its present step; `path` is what to resume from."""

    step: int
    path: str | None


@dataclass(frozen=True)
class Done:
    """The run is complete."""

    step: int
    epoch: int
    reason: str
    best_step: int
    best_path: str
    best_validation_loss: float | None
    seconds: float


@dataclass(frozen=True)
class Failed:
    """The run cannot go on; `kind` is usage, loss, disk, data or error."""

    kind: str
    message: str


Event = Started | Progress | Note | Step | Epoch | Saved | Evaluation | Stopped | Done | Failed


class TrainingError(Exception):
    """A run that cannot go on; the message is one line: what is wrong, and what to do."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def to_line(event: Event) -> str:
    """One line of JSON: the event's fields and its name, lower case, under `event`."""
    return json.dumps({"event": type(event).__name__.lower(), **asdict(event)}, ensure_ascii=False)
