"""What a run would be, without running it: sizes, samples, token lengths, steps, and the time by a few real steps."""

from __future__ import annotations

import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import torch

from blipq.worker.engine.pool import DecodePool
from blipq.worker.engine.training import checkpoint
from blipq.worker.engine.training.events import Note
from blipq.worker.engine.training.examples import Example, steps
from blipq.worker.engine.training.features import CHUNK
from blipq.worker.engine.training.material import Material, prepare
from blipq.worker.engine.training.network import inference
from blipq.worker.engine.training.pictures import LIMITS, cores
from blipq.worker.engine.training.plan import Plan
from blipq.worker.engine.training.ranks import Ranks
from blipq.worker.engine.training.stepper import Stepper, View

SAMPLES = 3
# The first step pays for memory and kernels, the next two are timed.
TIMED = 2


def describe(plan: Plan) -> dict[str, Any]:
    """Measure a run by three of its steps on the first of its devices; nothing is kept.

    Raises TrainingError, as the run itself would.
    """
    ranks = Ranks(plan.devices[:1])
    with (
        tempfile.TemporaryDirectory(prefix="blipq-dry-run-") as out,
        ThreadPoolExecutor(cores()) as pool,
        DecodePool(cores(), LIMITS) as decoders,
    ):
        aside = replace(plan, out=out, cache=None, devices=plan.devices[:1])
        began = perf_counter()
        notes = []
        looking = prepare(aside, None, ranks, decoders, pool, cores())
        while True:
            try:
                event = next(looking)
            except StopIteration as end:
                material: Material = end.value
                break
            if isinstance(event, Note):
                notes.append(event)
        return _report(material, plan, notes, perf_counter() - began)


def _report(material: Material, plan: Plan, notes: list[Note], looking: float) -> dict[str, Any]:
    stepper = Stepper(material.network, material.plan, material.precision, material.ranks)
    each, step = _timed(material, stepper)
    share = len(plan.devices)
    photos = len(material.corpus.train) + len(material.corpus.validation)
    epochs, an_epoch = material.plan.epochs or 1, material.steps_an_epoch
    seconds = {
        "looking": looking,
        "features": photos * each / share if material.features else 0.0,
        "step": step / share,
        # A forward pass is a third of a step.
        "validation": step / share / 3 * len(material.validation) / material.batch,
    }
    seconds["total"] = looking + seconds["features"] + epochs * (an_epoch * seconds["step"] + seconds["validation"])
    lengths = sorted(len(example.ids) for example in material.train)
    return {
        "plan": {**material.plan.to_json(), "out": plan.out, "cache": plan.cache, "devices": list(plan.devices)},
        "pictures": len(material.corpus.train),
        "pairs": len(material.train),
        "validation_pictures": len(material.corpus.validation),
        "validation_pairs": len(material.validation),
        "notes": dict(Counter(note.kind for note in notes)),
        "bad": [{"kind": note.kind, "name": note.name, "message": note.message} for note in notes if note.name],
        "samples": [_sample(material, example) for example in material.train[:SAMPLES]],
        "token_lengths": {"shortest": lengths[0], "median": int(median(lengths)), "longest": lengths[-1]},
        "steps_an_epoch": an_epoch,
        "steps": epochs * an_epoch,
        "parameters": sum(weight.numel() for weight in material.network.model.parameters()),
        "trainable": sum(weight.numel() for weight in stepper.learning.values()),
        "checkpoint_bytes": checkpoint.size(material.network),
        "feature_bytes": material.features.bytes if material.features else 0,
        "precision": material.precision.name,
        "device": str(material.ranks.device),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }


def _sample(material: Material, example: Example) -> dict[str, Any]:
    caption = material.network.text(example.ids)
    return {"name": material.photo(example.photo).name, "caption": caption, "tokens": len(example.ids)}


def _timed(material: Material, stepper: Stepper) -> tuple[float, float]:
    """Seconds of a picture through the frozen tower (0 where it learns), and of a step."""
    rows = next(steps(len(material.train), material.batch, material.plan.seed, 0))
    examples = [material.train[row] for row in rows]
    pixels = torch.from_numpy(material.stacked([example.photo for example in examples]))
    view: View = lambda some: material.network.features(pixels[some])  # noqa: E731
    each = 0.0
    if material.features is not None:
        few = pixels[:CHUNK]
        with inference(material.network), material.precision.context():
            material.network.features(few[:1])
            began = perf_counter()
            features = material.network.features(few)
            each = (perf_counter() - began) / len(few)
        kept = features[torch.arange(len(rows)) % len(few)]
        view = kept.__getitem__
    total = sum(example.targets for example in examples)
    stepper.step(examples, view, total, 0, 0.0)
    began = perf_counter()
    for number in range(TIMED):
        stepper.step(examples, view, total, number, 0.0)
    return each, (perf_counter() - began) / TIMED
