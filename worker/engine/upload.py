"""Pictures onto the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Upload:
    """Copies through one pinned buffer, which a CUDA device reads without the CPU's help; plain elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pinned: Tensor | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 (B, H, W, 3) → the same on the device. The copy before must be over: a caption call ends after it."""
        source = torch.from_numpy(np.ascontiguousarray(pixels))
        if self.device.type != "cuda":
            return source.to(self.device)
        if self._pinned is None or len(self._pinned) < len(source):
            self._pinned = torch.empty(source.shape, dtype=torch.uint8, pin_memory=True)
        staged = self._pinned[: len(source)]
        staged.copy_(source)
        return staged.to(self.device, non_blocking=True)
