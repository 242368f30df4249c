"""ROUGE-L (Lin 2004) as coco-caption computes it: beta 1.2, best precision and best recall over the references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BETA = 1.2


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, against in enumerate(other, 1):
            before, row[at] = row[at], before + 1 if word == against else max(row[at], row[at - 1])
    return row[-1]


def scores(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> NDArray[np.float64]:
    """ROUGE-L of each picture, (pictures,), from 0 to 1; their mean is the set's. Takes tokenised captions."""
    found = np.zeros(len(candidates))
    for at, (captions, candidate) in enumerate(zip(references, candidates, strict=True)):
        words = candidate.split(" ")
        split = [caption.split(" ") for caption in captions]
        common = [_common(reference, words) for reference in split]
        precision = max(common) / len(words)
        recall = max(length / len(reference) for length, reference in zip(common, split, strict=True))
        if precision and recall:
            found[at] = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    return found
