"""`blipq evaluate` behind the command line: models caption a data set, and are scored side by side.

A question on stdin, progress on stderr, the answer as one line on stdout; {"error": line} says what is wrong.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from blipq import settings
from blipq.models import training
from blipq.models.control import NoSuchJob
from blipq.models.database import Ledger, LedgerError, open_ledger
from blipq.models.training import Figure, RunError
from blipq.models.weights import UnknownModel
from blipq.settings import Settings
from blipq.worker import plans
from blipq.worker.engine import metrics
from blipq.worker.engine.captioner import Captioner, OutOfMemory, open_captioner
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.errors import NotACaptioner
from blipq.worker.engine.pool import DecodePool
from blipq.worker.engine.training.corpus import Photo, gather
from blipq.worker.engine.training.events import Note, TrainingError
from blipq.worker.engine.training.pictures import LIMITS, Pictures, ahead, cores, decoder
from blipq.worker.engine.training.sources import open_data
from blipq.worker.weights import folder_of

BATCH = 16
SAMPLES = 8
SHAPE = (32, 32)  # pixels that pictures are looked at in, before any model says what it takes
RESAMPLE = 3  # bicubic


@dataclass(frozen=True)
class Question:
    """What `blipq evaluate` asks."""

    data: str
    models: tuple[str, ...]
    split: str = "train"
    image_column: str | None = None
    text_column: str | None = None
    prompt: str = ""
    num_beams: int = 1
    max_new_tokens: int = 40
    device: str = "auto"
    precision: str = "auto"


def main() -> int:
    """Answer one question."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches us too: end without a word
    asked = settings.load()
    try:
        values = json.loads(sys.stdin.read())
        question = Question(**{**values, "models": tuple(values["models"])})
        answer = evaluate(open_ledger(asked), asked, question)
    except (
        RunError, NoSuchJob, UnknownModel, LedgerError, TrainingError, NotACaptioner, OutOfMemory, ValueError
    ) as error:  # fmt: skip
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 0


def evaluate(ledger: Ledger, asked: Settings, question: Question) -> dict[str, Any]:
    """Caption all pictures of the data with each model, score the captions, and store the figures.

    Raises what `main` turns into a line.
    """
    found = {model: plans.resolve_base(ledger, model, None) for model in question.models}
    folders = {model: folder_of(asked, weights, _say) for model, weights in found.items()}
    decoding = Decoding(num_beams=question.num_beams, max_new_tokens=question.max_new_tokens)
    with (
        tempfile.TemporaryDirectory(prefix="blipq-evaluate-") as scratch,
        ThreadPoolExecutor(cores()) as pool,
        DecodePool(cores(), LIMITS) as decoders,
    ):
        data = plans.open_corrections(ledger, question.data, Path(scratch))
        columns = (question.image_column, question.text_column)
        source, _ = open_data(data, question.split, None, *columns, Path(scratch))
        look = decoder(decoders, SHAPE, RESAMPLE)
        photos = _photos(gather(source, None, 0.0, 0, look, cores()))
        if len(photos) < 2:
            raise TrainingError("data", "one picture says nothing of a model: give two or more, better 500")
        pictures = Pictures(source, None, look, SHAPE)
        captions: dict[str, list[str]] = {}
        for model, folder in folders.items():
            captioner = open_captioner(str(folder), question.device, question.precision)
            size = (captioner.preprocessing.height, captioner.preprocessing.width)
            sized = pictures.at(decoder(decoders, size, captioner.preprocessing.resample), size)
            parts = (photos[start : start + BATCH] for start in range(0, len(photos), BATCH))
            captions[model] = []
            for part, pixels in ahead(pool, partial(_stacked, sized), parts, 2):
                captions[model] += _captions(captioner, pixels, len(part), question.prompt, decoding)
                _say(f"{model}: {len(captions[model]):,} of {len(photos):,} captioned", again=True)
            captioner.close()
    compared = metrics.compare([list(photo.captions) for photo in photos], captions)
    with ledger.write() as connection:
        for model, scores in compared.scores.items():
            figures = {metrics.LABELS[name]: Figure(**asdict(metric)) for name, metric in scores.metrics.items()}
            training.add_evaluation(
                connection, None, data=question.data, model=found[model].pinned, figures=figures, pictures=len(photos)
            )
    return {
        "data": question.data,
        "pictures": len(photos),
        "models": {
            model: {
                "model": found[model].pinned,
                "weights": found[model].id,
                "metrics": _plain(scores.metrics),
                "differences": _plain(compared.differences.get(model, {})),
                "missing": {metrics.LABELS[name]: why for name, why in scores.missing.items()},
            }
            for model, scores in compared.scores.items()
        },
        "warnings": list(next(iter(compared.scores.values())).warnings),
        "samples": [
            {"name": photo.name, "references": list(photo.captions)}
            | {"captions": {model: texts[at] for model, texts in captions.items()}}
            for at, photo in enumerate(photos[:SAMPLES])
        ],
    }


def _photos(looking: Iterator[Any]) -> tuple[Photo, ...]:
    """The pictures with captions; bad ones are named on stderr."""
    while True:
        try:
            event = next(looking)
        except StopIteration as end:
            photos: tuple[Photo, ...] = end.value.train
            return photos
        if isinstance(event, Note) and event.name:
            _say(f"{event.kind} {event.name}: {event.message}")


def _stacked(pictures: Pictures, photos: Sequence[Photo]) -> np.ndarray:
    return np.stack([pictures.pixels(photo) for photo in photos])


def _captions(captioner: Captioner, pixels: np.ndarray, count: int, prompt: str, decoding: Decoding) -> list[str]:
    """What the model wrote after the prompt: references do not hold it."""
    written = captioner.caption(pixels, [prompt] * count, decoding, [0] * count)
    texts = [caption.text for caption in written]
    return [text[len(prompt) :].strip() if text.lower().startswith(prompt.lower()) else text for text in texts]


def _plain(found: Mapping[str, metrics.Metric]) -> dict[str, dict[str, float]]:
    return {metrics.LABELS[name]: asdict(metric) for name, metric in found.items()}


def _say(message: str, again: bool = False) -> None:
    """A line on stderr; `again`: one that is written over, and on a terminal alone."""
    if not again:
        print(message, file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"\r{message}\033[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
