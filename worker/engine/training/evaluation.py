"""Captions of held-out pictures, and their scores: the base model beside the tuned one."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from blipq.worker.engine import metrics
from blipq.worker.engine.captioner import open_captioner
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.training.corpus import Photo
from blipq.worker.engine.training.events import Evaluation, Event, Note, Progress
from blipq.worker.engine.training.material import Material
from blipq.worker.engine.training.network import inference
from blipq.worker.engine.training.pictures import decoder

# CIDEr's deviation over random subsets is .024 at 500 pictures and .105 at 50: below that it may not steer a run.
CIDER_MINIMUM = 500
BATCH = 16
SAMPLES = 8


def captions(material: Material, photos: Sequence[int]) -> Generator[Event, None, list[str]]:
    """Greedy captions of photos, by their places, by the network as it stands; every process gets the whole list.

    Through Hugging Face's `generate`, since features are at hand and LoRA is not merged. No reference is shown to it.
    """
    mine = _share(material, photos)
    texts: list[str] = []
    for start in range(0, len(mine), BATCH):
        with inference(material.network), material.precision.context():
            features = material.encode(mine[start : start + BATCH])
            texts += material.network.generate(features, material.prompt, _longest(material))
        yield Progress("captions", len(texts), len(mine))
    return material.ranks.gather(texts)


def cider(material: Material, captions: Sequence[str]) -> float:
    """CIDEr-D of captions of the held-out pictures."""
    references = [list(photo.captions) for photo in material.corpus.validation]
    return metrics.score(references, captions, with_meteor=False, resamples=1).metrics["cider_d"].value


def compare(material: Material, best: Path, step: int) -> Generator[Event, None, None]:
    """Caption the validation set with base and best checkpoint, loaded from the disk as captions are made later."""
    photos = material.corpus.validation
    if not photos:
        yield Note("no evaluation", "no pictures were held out: nothing to compare base and tuned on")
        return
    first = len(material.corpus.train)
    mine = _share(material, range(first, first + len(photos)))
    candidates: dict[str, list[str]] = {}
    for model, folder in (("base", Path(material.plan.base)), ("tuned", best)):
        captioner = open_captioner(str(folder), str(material.ranks.device), material.precision.name)
        size = (captioner.preprocessing.height, captioner.preprocessing.width)
        pictures = material.pictures.at(decoder(material.decoders, size, captioner.preprocessing.resample), size)
        texts: list[str] = []
        for start in range(0, len(mine), BATCH):
            part = mine[start : start + BATCH]
            pixels = np.stack([pictures.pixels(material.photo(photo)) for photo in part])
            decoding = Decoding(max_new_tokens=_longest(material))
            written = captioner.caption(pixels, [material.plan.prompt] * len(part), decoding, [0] * len(part))
            texts += [material.network.text(caption.tokens) for caption in written]
            yield Progress(f"captions of {model}", len(texts), len(mine))
        captioner.close()
        candidates[model] = material.ranks.gather(texts)
    if not material.ranks.first:
        return  # one process scores: METEOR's Java alone takes 1 GB
    compared = metrics.compare([list(photo.captions) for photo in photos], candidates)
    for model, found in compared.scores.items():
        yield Evaluation(
            model=model,
            step=step if model == "tuned" else 0,
            pictures=len(photos),
            metrics=_plain(found.metrics),
            differences=_plain(compared.differences.get(model, {})),
            missing=dict(found.missing),
            warnings=list(found.warnings),
            samples=_samples(photos, candidates[model]),
        )


def _share(material: Material, photos: Sequence[int]) -> list[int]:
    return [int(photo) for photo in np.array_split(np.asarray(photos), material.ranks.count)[material.ranks.index]]


def _longest(material: Material) -> int:
    """Tokens that a caption may take: as many as in training."""
    return material.plan.max_length - 1 - len(material.prompt)


def _plain(found: Mapping[str, metrics.Metric]) -> dict[str, dict[str, float]]:
    return {name: asdict(metric) for name, metric in found.items()}


def _samples(photos: Sequence[Photo], texts: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"name": photo.name, "caption": text, "references": list(photo.captions)}
        for photo, text in list(zip(photos, texts, strict=True))[:SAMPLES]
    ]
