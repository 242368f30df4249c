"""Pictures as the network takes them: decoded ahead of the step in threads, kept in memory where they fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image

from blipq.worker.engine import picture
from blipq.worker.engine.pool import DecodePool, Request
from blipq.worker.engine.training.corpus import Decode, Photo
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.sources import Source

# What one picture may take; more is a bad pair.
LIMITS = picture.Limits(pixels=50_000_000, bytes=200_000_000, memory=2_000_000_000, seconds=20)

# Decoded pictures kept in memory: 2,260 of 384 x 384. Past that they are decoded again in each epoch.
KEPT_BYTES = 1_000_000_000

Work = TypeVar("Work")
Ready = TypeVar("Ready")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pictures:
    """The decoded pixels of photos: uint8, height x width x 3."""

    def __init__(self, train: Source, named: Source | None, decode: Decode, size: tuple[int, int]) -> None:
        self.size = size
        self._sources = (train, named)
        self._decode = decode
        self._kept: dict[tuple[bool, int], np.ndarray] = {}
        self._room = KEPT_BYTES

    def at(self, decode: Decode, size: tuple[int, int]) -> Pictures:
        """The same photos, decoded at another model's size; itself where the size is its own."""
        return self if size == self.size else Pictures(*self._sources, decode, size)

    def pixels(self, photo: Photo) -> np.ndarray:
        """Decode a photo, or take it from memory.

        Raises TrainingError: the picture is not the one that the run began with.
        """
        key = (photo.named, photo.row)
        if key in self._kept:
            return self._kept[key]
        source = self._sources[photo.named]
        assert source is not None
        try:
            data = source.read(photo.row)
            if hashlib.sha256(data).hexdigest() != photo.sha256:
                raise OSError("its content is another one")
            pixels = self._decode(data)
        except (OSError, ValueError, IndexError) as error:
            raise TrainingError(
                "data", f"{photo.name} changed since the run began ({error}): restore it, or start a new run"
            ) from None
        self.keep(*key, pixels)
        return pixels

    def keep(self, named: bool, row: int, pixels: np.ndarray) -> None:
        """Keep decoded pixels of a row in memory, where there is room for them."""
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[named, row] = pixels


def decoder(pool: DecodePool, size: tuple[int, int], resample: int) -> Decode:
    """A function from coded pictures to uint8 pixels of (height, width, 3); ValueError: the reason why it is none.

    Without draft decoding: training has the time for the exact pixels. Any thread may call it.
    """
    shape = picture.Shape(*size, resample=resample, draft=False)

    def decode(data: bytes) -> np.ndarray:
        answer = pool.submit(Request(data=data, shape=shape)).result()
        if not isinstance(answer, picture.Picture):
            raise ValueError(
                f"{answer.kind}: {answer.message}" if isinstance(answer, picture.BadImage) else "no pixels"
            )
        return answer.pixels

    return decode


def augmented(pixels: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """A light variation of a picture: a crop of 80 % of the area or more, brightness and contrast within 10 %.

    Never a flip: it would break left, right and shirt numbers. The same seed gives the same pixels.
    """
    random = np.random.default_rng(seed)
    height, width = pixels.shape[:2]
    side = float(np.sqrt(random.uniform(0.8, 1.0)))
    left, top = random.uniform(0, 1 - side) * width, random.uniform(0, 1 - side) * height
    box = (left, top, left + side * width, top + side * height)
    cropped = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC, box=box)
    values = np.asarray(cropped, dtype=np.float32)
    brightness, contrast = random.uniform(0.9, 1.1, 2)
    values = (values - values.mean()) * contrast + values.mean() * brightness
    varied: np.ndarray = np.clip(values, 0, 255).astype(np.uint8)
    return varied


def ahead(
    pool: ThreadPoolExecutor, load: Callable[[Work], Ready], works: Iterable[Work], depth: int
) -> Iterator[tuple[Work, Ready]]:
    """Yield each work with what `load` made of it; the next `depth` are being loaded while the present one is used."""
    waiting: list[tuple[Work, Future[Ready]]] = []
    for work in works:
        waiting.append((work, pool.submit(load, work)))
        if len(waiting) > depth:
            first, future = waiting.pop(0)
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()
