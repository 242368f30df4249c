"""CIDEr-D (Vedantam et al. 2015) as coco-caption computes it, with the set's own references as its corpus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blipq.worker.engine.metrics.bleu import ORDER, ngrams

SIGMA = 6.0

Ngram = tuple[str, ...]


@dataclass(frozen=True)
class _Vector:
    """A caption as tf-idf weights, with the norm of each n-gram order and its length in bigrams, as COCO counts it."""

    weights: Mapping[Ngram, float]
    norms: tuple[float, ...]
    length: int


def _vector(counts: Counter[Ngram], rarity: Mapping[Ngram, float], unseen: float) -> _Vector:
    weights = {ngram: count * rarity.get(ngram, unseen) for ngram, count in counts.items()}
    squares = [0.0] * ORDER
    for ngram, weight in weights.items():
        squares[len(ngram) - 1] += weight * weight
    length = sum(count for ngram, count in counts.items() if len(ngram) == 2)
    return _Vector(weights, tuple(map(math.sqrt, squares)), length)


def _likeness(candidate: _Vector, reference: _Vector) -> float:
    products = [0.0] * ORDER
    for ngram, weight in candidate.weights.items():
        other = reference.weights.get(ngram)
        if other is not None:
            products[len(ngram) - 1] += min(weight, other) * other
    cosines = (
        product / (mine * theirs)
        for product, mine, theirs in zip(products, candidate.norms, reference.norms, strict=True)
        if mine and theirs
    )
    return math.exp(-((candidate.length - reference.length) ** 2) / (2 * SIGMA**2)) * sum(cosines) / ORDER


def scores(references: Sequence[Sequence[str]], candidates: Sequence[str]) -> NDArray[np.float64]:
    """CIDEr-D of each picture, (pictures,), from 0 to 10; their mean is the set's.

    Takes tokenised captions (`ptb.words`). An n-gram counts for as much as it is rare among the pictures' references,
    so the score of a set says nothing beside that of a set of another size, and one picture has none.
    Raises ValueError for fewer than two pictures.
    """
    if len(candidates) < 2:
        raise ValueError("CIDEr-D weighs words by how few pictures they occur in: it takes two pictures or more")
    counted = [[ngrams(caption.split()) for caption in captions] for captions in references]
    pictures: Counter[Ngram] = Counter()
    for captions in counted:
        pictures.update(set().union(*captions))
    unseen = math.log(len(candidates))
    rarity = {ngram: unseen - math.log(count) for ngram, count in pictures.items()}
    found = np.zeros(len(candidates))
    for at, (captions, candidate) in enumerate(zip(counted, candidates, strict=True)):
        vector = _vector(ngrams(candidate.split()), rarity, unseen)
        found[at] = 10 * sum(_likeness(vector, _vector(c, rarity, unseen)) for c in captions) / len(captions)
    return found
