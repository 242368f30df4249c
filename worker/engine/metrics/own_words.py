"""The words a domain has to itself, and which captions use one: "goalkeeper", where a base model says "man"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray


@cache
def general() -> frozenset[str]:
    """The 2,305 words that stand in at least 5 of the 25,014 captions of COCO 2017 val (annotations CC BY 4.0)."""
    return frozenset(files(__package__).joinpath("general.txt").read_text(encoding="ascii").split())


def own_words(references: Sequence[Sequence[str]]) -> frozenset[str]:
    """Words that the references of at least two pictures use and everyday captions hardly ever.

    Takes tokenised captions (`ptb.words`), a sequence a picture. Words are of letters alone, so that a shirt's number
    is none; the second picture keeps out most misspellings and names. No model's captions have a say in the list.
    """
    pictures = Counter(word for captions in references for word in set(" ".join(captions).split()))
    return frozenset(word for word, count in pictures.items() if count > 1 and word.isalpha()) - general()


def using(own: Collection[str], candidates: Sequence[str]) -> NDArray[np.float64]:
    """1.0 for each caption that has at least one of the words, else 0.0, (captions,). Takes tokenised captions."""
    words = frozenset(own)
    return np.array([float(not words.isdisjoint(candidate.split())) for candidate in candidates])
