"""A captioner that bears witness: it appends every picture that it runs to a file, outside of any database.

`BLIPQ_CAPTIONER=witness:open_captioner` with this folder on PYTHONPATH. Pictures are 8x8 and lossless; their first
pixels say that they are ours, which number they have, and what they do to the process that runs them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from blipq.worker.engine.decoding import Caption, Decoding
from blipq.worker.engine.errors import OutOfMemory
from blipq.worker.engine.preprocessing import Preprocessing

SIDE = 8
OURS = (0xB1, 0x1F, 0x70)
FINE, SEGFAULT, HANG, RAISE, HARM, SHORT = range(6)  # SHORT: fewer captions than pictures
_PREPROCESSING = Preprocessing(SIDE, SIDE, Image.Resampling.NEAREST.value, (0.0,) * 3, (1.0,) * 3, "witness")


def paint(number: int, does: int = FINE) -> Image.Image:
    """The picture with a number, unlike any other."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[0, 0] = OURS
    pixels[0, 1] = number >> 16, number >> 8 & 255, number & 255
    pixels[0, 2] = does
    return Image.fromarray(pixels)


class Witness:
    """Takes `WITNESS_SECONDS` a picture; has room for as many pictures a batch as the file `WITNESS_ROOM` says."""

    device = "cpu"
    precision = "fp32"
    preprocessing = _PREPROCESSING

    def __init__(self, always: str = "") -> None:
        self._always = always
        self._file = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._seconds = float(os.environ.get("WITNESS_SECONDS", "0"))

    def caption(
        self, pixels: np.ndarray, prompts: Sequence[str], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Caption]:
        numbers = [int.from_bytes(one[0, 1].tobytes(), "big") for one in pixels if tuple(one[0, 0]) == OURS]
        if len(pixels) > _room():
            raise OutOfMemory(f"no room for {len(pixels)} pictures")
        if "refuse" in prompts:
            raise ValueError("a prompt that this model refuses")
        if numbers:
            line = f"{time.time():.3f} {os.getpid()} {' '.join(map(str, numbers))}\n"
            os.write(self._file, line.encode())  # one write, appended whole whoever else writes
        deeds = [int(one[0, 2, 0]) for one in pixels if tuple(one[0, 0]) == OURS]
        for deed in deeds:
            _do(deed)
        if self._always == "raise":
            raise KeyError("a model of stone")
        if self._always == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(self._seconds * len(pixels))
        names = numbers if numbers else range(len(pixels))
        captions = [Caption(f"picture {number}", -0.5, (1, 2), cut=False) for number in names]
        return captions[1:] if SHORT in deeds else captions

    def warm_up(self, batch: int) -> float:
        return 0.0

    def close(self) -> None:
        os.close(self._file)


def open_captioner(folder: str, device: str = "auto", precision: str = "auto") -> Witness:
    """A folder's file `opens` says what opening it does, its file `always` what every batch does."""
    opens, always = (
        (Path(folder) / name).read_text() if (Path(folder) / name).exists() else "" for name in ("opens", "always")
    )
    if opens == "raise":
        raise AttributeError("no such layer\nin this model")
    if opens == "exit":
        sys.exit(3)
    if opens == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if opens == "memory":
        raise MemoryError("no room for weights")
    return None if opens == "nonsense" else Witness(always)  # type: ignore[return-value]


def _room() -> int:
    file = os.environ.get("WITNESS_ROOM")
    return int(Path(file).read_text()) if file else 100_000


def _do(deed: int) -> None:
    if deed == SEGFAULT:
        os.kill(os.getpid(), signal.SIGSEGV)
    if deed == RAISE:
        raise ValueError("a picture of nothing")
    if deed == HARM:
        raise RuntimeError("CUDA error: device-side assert triggered")
    if deed == HANG:
        time.sleep(3600)
