"""The learning rate as a function of the step: nothing to save, nothing to lose."""

from __future__ import annotations

import math


def rate(schedule: str, peak: float, step: int, steps: int, epoch: int, epochs: int, warmup: float) -> float:
    """The learning rate of optimizer step `step` (from 0) of `steps`, in epoch `epoch` (from 0) of `epochs`.

    It rises linearly over the first `warmup` share of the steps, then falls by `schedule`: `cosine` and `linear` to 0
    a step, `cosine-epoch` to 0 a epoch (as the original BLIP does), `constant` not at all.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    along = (step - rising) / max(1, steps - rising)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * along))
    if schedule == "linear":
        return peak * (1 - along)
    if schedule == "cosine-epoch":
        return peak * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    return peak
