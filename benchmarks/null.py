"""A captioner that does nothing: what is left is the queue, the ledger, and reading files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blipq.worker.engine.decoding import Caption, Decoding
from blipq.worker.engine.preprocessing import Preprocessing


class Null:
    """Says the same of every picture."""

    device = "cpu"
    precision = "fp32"
    parameters = 0
    preprocessing = Preprocessing(1, 1, 0, (0.5,) * 3, (0.5,) * 3, "null")

    def caption(
        self, pixels: NDArray[np.uint8], prompts: Sequence[str], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Caption]:
        """One fixed caption a picture."""
        return [Caption("a picture", -1.0, (1, 2), False)] * len(pixels)

    def warm_up(self, batch: int) -> float:
        """Nothing to warm."""
        return 0.0

    def close(self) -> None:
        """Nothing to close."""


def open_captioner(folder: str, device: str, precision: str) -> Null:
    """The worker's seam."""
    return Null()
