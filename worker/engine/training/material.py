"""What stands between a plan and its first step: network, pairs, room, features."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from blipq.worker.engine.pool import DecodePool
from blipq.worker.engine.precision import pick_precision
from blipq.worker.engine.training import checkpoint
from blipq.worker.engine.training.corpus import Corpus, Photo, gather
from blipq.worker.engine.training.events import Event, Note
from blipq.worker.engine.training.examples import Encoder, Example
from blipq.worker.engine.training.features import LIMIT, Features
from blipq.worker.engine.training.network import Network, Precision
from blipq.worker.engine.training.pictures import Pictures, ahead, augmented, decoder
from blipq.worker.engine.training.plan import Plan
from blipq.worker.engine.training.ranks import Ranks
from blipq.worker.engine.training.sources import open_data

PAIRS = "pairs.jsonl"

# Pairs loaded ahead of the step: 230 MB of features or 110 MB of pixels of BLIP-base.
AHEAD = 256


@dataclass(frozen=True)
class Material:
    """All that a run works on; `photos` are the training ones, then the held-out ones."""

    plan: Plan  # settled
    network: Network
    precision: Precision
    ranks: Ranks
    corpus: Corpus
    pictures: Pictures
    features: Features | None
    prompt: list[int]
    train: list[Example]
    validation: list[Example]
    decoders: DecodePool
    pool: ThreadPoolExecutor
    threads: int

    @property
    def batch(self) -> int:
        """Pairs of an optimizer step, over all devices."""
        return self.plan.batch_size * self.plan.accumulation

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-len(self.train) // self.batch)

    def views(
        self, parts: Iterator[Sequence[Example]], epoch: int | None
    ) -> Iterator[tuple[Sequence[Example], Callable[[slice], torch.Tensor]]]:
        """Each part of the examples with a function that gives the features of a slice of it, loaded ahead.

        `epoch`: pictures are varied by it where the plan says so; None: never.
        """

        def load(part: Sequence[Example]) -> torch.Tensor:
            photos = [example.photo for example in part]
            if self.features is not None:
                return self.features.read(photos)
            pixels = [self.pictures.pixels(self.photo(photo)) for photo in photos]
            if self.plan.augment and epoch is not None:
                seeds = [[self.plan.seed, epoch, *example.ids, example.photo] for example in part]
                pixels = [augmented(pixel, seed) for pixel, seed in zip(pixels, seeds, strict=True)]
            return torch.from_numpy(np.stack(pixels)) if pixels else torch.empty(0)

        depth = max(2, min(self.threads, AHEAD // self.batch))
        for part, loaded in ahead(self.pool, load, parts, depth):
            yield part, partial(self._encoded, loaded)

    def _encoded(self, loaded: torch.Tensor, some: slice) -> torch.Tensor:
        if self.features is None:
            return self.network.features(loaded[some])
        return loaded[some].to(self.ranks.device, self.precision.dtype)

    def encode(self, photos: Sequence[int]) -> torch.Tensor:
        """Features of photos, by their places; kept ones where there are."""
        if self.features is not None:
            return self.features.read(photos).to(self.ranks.device, self.precision.dtype)
        return self.network.features(torch.from_numpy(self.stacked(photos)))

    def stacked(self, photos: Sequence[int]) -> np.ndarray:
        """Pixels of photos, by their places: uint8, (photos, height, width, 3)."""
        return np.stack([self.pictures.pixels(self.photo(photo)) for photo in photos])

    def photo(self, index: int) -> Photo:
        """A photo by the number that examples carry."""
        held = index - len(self.corpus.train)
        return self.corpus.train[index] if held < 0 else self.corpus.validation[held]

    def share(self, rows: np.ndarray) -> list[Example]:
        """This process's part of a step's pairs."""
        return [self.train[row] for row in np.array_split(rows, self.ranks.count)[self.ranks.index]]


def prepare(
    plan: Plan, resume: Path | None, ranks: Ranks, decoders: DecodePool, pool: ThreadPoolExecutor, threads: int
) -> Generator[Event, None, Material]:
    """Load, look at the data, and settle the plan; features are not filled yet.

    Raises TrainingError.
    """
    out = Path(plan.out)
    out.mkdir(parents=True, exist_ok=True)
    network = Network.load(plan.base if resume is None or plan.lora else resume)
    if plan.image_size is not None:
        network.resize(plan.image_size)
    named = plan.validation if isinstance(plan.validation, str) else None
    sources = open_data(plan.data, plan.split, named, plan.image_column, plan.text_column, out / "tables")
    decode = decoder(decoders, network.size, network.resample)
    pictures = Pictures(*sources, decode, network.size)
    if ranks.first:
        checkpoint.clear(out)
        if resume is None or not (out / PAIRS).is_file():
            share = 0.0 if isinstance(plan.validation, str) else float(plan.validation)
            corpus = yield from gather(*sources, share, plan.seed, decode, threads, pictures.keep)
            corpus.write(out / PAIRS)
    ranks.wait()
    corpus = Corpus.read(out / PAIRS)
    plan = plan.settled(len(corpus.train), large=network.large)
    encoder = Encoder(network, plan.prompt, plan.max_length)
    photos = (*corpus.train, *corpus.validation)
    examples = encoder.encode(photos)
    if ranks.first:
        yield from _remarks(encoder, [photo.name for photo in photos])
    network.prepare(plan, ranks.device)
    precision = Precision(pick_precision(plan.precision, ranks.device), ranks.device)
    features = None
    if plan.freeze == "vision" and not plan.augment:
        features = Features(Path(plan.cache or out / "features"), network, photos, precision)
        if not features.fits:
            if ranks.first:
                yield Note(
                    "features", f"{features.bytes / 1e9:.1f} GB of features are over {LIMIT / 1e9:.0f} GB: not kept"
                )
            features = None
    split = sum(len(photo.captions) for photo in corpus.train)
    return Material(
        plan=plan,
        network=network,
        precision=precision,
        ranks=ranks,
        corpus=corpus,
        pictures=pictures,
        features=features,
        prompt=encoder.prompt,
        train=examples[:split],
        validation=examples[split:],
        decoders=decoders,
        pool=pool,
        threads=threads,
    )


def _remarks(encoder: Encoder, names: Sequence[str]) -> Iterator[Event]:
    for photo in encoder.cut[:1000]:
        yield Note("cut", f"the caption is longer than {encoder.max_length} tokens: cut, no end learned", names[photo])
    if encoder.unknown:
        words = ", ".join(word for word, _ in encoder.unknown.most_common(10))
        yield Note("unknown words", f"{len(encoder.unknown):,} words are not in the base model's vocabulary: {words}")
