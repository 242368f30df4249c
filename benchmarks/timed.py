"""A captioner whose time is known: `BLIPQ_BENCH_SECONDS` a batch, however many pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blipq.worker.engine.decoding import Caption, Decoding
from blipq.worker.engine.preprocessing import Preprocessing

SECONDS = float(os.environ.get("BLIPQ_BENCH_SECONDS", "0.1"))


class Timed:
    """Sleeps, as a model on a device of its own would let the processor do."""

    device = "cpu"
    precision = "fp32"
    parameters = 0
    preprocessing = Preprocessing(384, 384, 3, (0.5,) * 3, (0.5,) * 3, "timed")

    def caption(
        self, pixels: NDArray[np.uint8], prompts: Sequence[str], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Caption]:
        """One fixed caption a picture, after the time of a batch."""
        time.sleep(SECONDS)
        return [Caption("a picture", -1.0, (1, 2), False)] * len(pixels)

    def warm_up(self, batch: int) -> float:
        """Nothing to warm."""
        return 0.0

    def close(self) -> None:
        """Nothing to close."""


def open_captioner(folder: str, device: str, precision: str) -> Timed:
    """The worker's seam."""
    return Timed()
