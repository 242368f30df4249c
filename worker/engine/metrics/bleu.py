"""BLEU-1 to BLEU-4 as COCO computes them: of the whole set, against the reference closest in length.

Papineni et al. 2002; the tiny terms and the tie towards the shorter reference are those of coco-caption. sacrebleu's
figures are the same, but 0 where no 4-gram matches at all and COCO has about 4e-5: so the dozen lines are here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDER = 4
# Columns of `counts`: matches of 1- to 4-grams, n-grams of the candidate, its length, the closest reference's length.
COLUMNS = 2 * ORDER + 2


def ngrams(words: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How often each 1- to 4-gram occurs."""
    return Counter(tuple(words[at : at + n]) for n in range(1, ORDER + 1) for at in range(len(words) - n + 1))


def counts(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> NDArray[np.float64]:
    """What BLEU needs to know of each picture, (pictures, 10): the sum over any set of rows gives that set's BLEU.

    Takes tokenised captions (`ptb.words`).
    """
    table = np.zeros((len(candidates), COLUMNS))
    for row, captions, candidate in zip(table, references, candidates, strict=True):
        words = candidate.split()
        split = [caption.split() for caption in captions]
        most: Counter[tuple[str, ...]] = Counter()
        for reference in split:
            most |= ngrams(reference)
        for ngram, count in (ngrams(words) & most).items():
            row[len(ngram) - 1] += count
        row[ORDER : 2 * ORDER] = [max(0, len(words) - n) for n in range(ORDER)]
        row[-2] = len(words)
        row[-1] = min((abs(len(reference) - len(words)), len(reference)) for reference in split)[1]
    return table


def score(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU-1 to BLEU-4, (..., 4), of summed `counts`, (..., 10)."""
    precision = np.cumprod((sums[..., :ORDER] + 1e-15) / (sums[..., ORDER : 2 * ORDER] + 1e-9), axis=-1)
    ratio = (sums[..., -2] + 1e-15) / (sums[..., -1] + 1e-9)
    # A candidate of no words has ratio 0 and BLEU 0.
    with np.errstate(over="ignore"):
        brevity = np.exp(np.minimum(0, 1 - 1 / np.maximum(ratio, 1e-300)))
    roots: NDArray[np.float64] = precision ** (1 / np.arange(1, ORDER + 1)) * brevity[..., None]
    return roots
