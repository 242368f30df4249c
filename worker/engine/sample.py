"""Sampling whose randomness belongs to a row: to its seed and the token's number, never to the batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def _mix(z: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def uniform(seed: int, number: int) -> float:
    """The `number`-th value in [0, 1) of the stream of a seed: a counter through a hash, so no state is kept."""
    return (_mix((_mix(seed & _MASK) + (number + 1) * _GAMMA) & _MASK) >> 11) * 2.0**-53


def draw(scores: Tensor, seeds: Sequence[int], number: int) -> Tensor:
    """Draw one token a row from softmax(scores (rows, V)) by inverse CDF → (rows,)."""
    wide = torch.float32 if scores.device.type == "mps" else torch.float64
    reach = scores.to(wide).softmax(-1).cumsum(-1)
    levels = torch.tensor([uniform(seed, number) for seed in seeds], dtype=wide, device=scores.device)[:, None]
    # Of the sum as it came out, not of 1: rounding must not draw a token of probability 0 past the end.
    return torch.searchsorted(reach, levels * reach[:, -1:], right=True).squeeze(1).clamp_(max=scores.shape[1] - 1)
