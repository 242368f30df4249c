"""One set of captions scored, or several against each other, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blipq.worker.engine.metrics import bleu, cider, meteor, rouge
from blipq.worker.engine.metrics.own_words import own_words, using
from blipq.worker.engine.metrics.ptb import words

# What people call each, in the order in which they are printed.
LABELS = {
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "cider_d": "CIDEr-D",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "own_words": "uses the domain's own words",
}
RESAMPLES = 1000
SMALL = 500

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A figure of the whole set and its 95 % bootstrap interval over pictures."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What was computed, by the names of LABELS; why the others were not; what to keep in mind."""

    pictures: int
    metrics: Mapping[str, Metric]
    missing: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The scores of each set of captions, and how far each but the first is from the first.

    Differences are resampled in pairs: an interval that leaves out 0 is a real difference on pictures like these.
    """

    scores: Mapping[str, Scores]
    differences: Mapping[str, Mapping[str, Metric]]


def score(
    references: Sequence[Sequence[str]],
    candidates: Sequence[str],
    *,
    own: Collection[str] | None = None,
    with_meteor: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """Score a caption a picture against the picture's references, untokenised both, as COCO's evaluation does.

    `own` are the domain's own words, those of the references if None. The intervals take `resamples` draws of pictures
    with replacement; a seed gives the same ones each time. CIDEr's word weights stay those of the whole set.
    Raises ValueError for no pictures, a picture without references, or lists of unequal length.
    """
    return compare(
        references, {"": candidates}, own=own, with_meteor=with_meteor, resamples=resamples, seed=seed
    ).scores[""]


def compare(
    references: Sequence[Sequence[str]],
    candidates: Mapping[str, Sequence[str]],
    *,
    own: Collection[str] | None = None,
    with_meteor: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Score several models' captions of the same pictures, and their differences from the first's.

    Arguments and errors as of `score`; `candidates` maps a model's name to its captions.
    """
    pictures = len(references)
    if not pictures or not candidates:
        raise ValueError("there is nothing to score")
    if not all(references):
        raise ValueError("a picture has no reference captions")
    for name, captions in candidates.items():
        if len(captions) != pictures:
            raise ValueError(f"{name}: {len(captions)} captions for {pictures} pictures".removeprefix(": "))
    wanted = [[words(caption) for caption in captions] for captions in references]
    domain = own_words(wanted) if own is None else own
    scores: dict[str, Scores] = {}
    values: dict[str, dict[str, Samples]] = {}
    samples: dict[str, dict[str, Samples]] = {}
    for name, captions in candidates.items():
        tables, missing = _tables(wanted, [words(caption) for caption in captions], domain, with_meteor)
        values[name] = _figures(tables, [np.ones((1, pictures))])
        samples[name] = _figures(tables, _draws(pictures, resamples, seed))
        metrics = {metric: _metric(values[name][metric], samples[name][metric]) for metric in values[name]}
        scores[name] = Scores(pictures, metrics, missing, _warnings(pictures))
    first, *others = candidates
    differences = {
        name: {
            metric: _metric(values[name][metric] - value, samples[name][metric] - samples[first][metric])
            for metric, value in values[first].items()
            if metric in values[name]
        }
        for name in others
    }
    return Comparison(scores, differences)


def _tables(
    references: Sequence[Sequence[str]], candidates: Sequence[str], domain: Collection[str], with_meteor: bool
) -> tuple[dict[str, Samples], dict[str, str]]:
    """Statistics of each picture that may be summed, by metric, (pictures, columns), and why others are not there."""
    tables = {
        "bleu": bleu.counts(references, candidates),
        "rouge_l": rouge.scores(references, candidates)[:, None],
    }
    missing = {}
    if len(candidates) > 1:
        tables["cider_d"] = cider.scores(references, candidates)[:, None]
    else:
        missing["cider_d"] = "one picture has no CIDEr-D: words are weighed by how few pictures they occur in"
    if domain:
        tables["own_words"] = using(domain, candidates)[:, None]
    else:
        missing["own_words"] = "the reference captions have no words of their own in two pictures or more"
    if with_meteor:
        try:
            tables["meteor"] = meteor.counts(references, candidates)
        except meteor.MeteorUnavailable as error:
            missing["meteor"] = str(error)
    return tables, missing


def _draws(pictures: int, resamples: int, seed: int) -> Iterator[Samples]:
    """How often each resample holds each picture, (at most 50 resamples, pictures): 4 MB for 10,000 pictures."""
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, 50):
        shares = np.full(pictures, 1 / pictures)
        yield rng.multinomial(pictures, shares, size=min(50, resamples - start)).astype(np.float64)


def _figures(tables: Mapping[str, Samples], draws: Iterable[Samples]) -> dict[str, Samples]:
    """The metrics of each draw, by name, (draws,), in the order of LABELS."""
    figures: dict[str, list[Samples]] = {}
    for draw in draws:
        for name, table in tables.items():
            sums = draw @ table
            if name == "bleu":
                for n, column in enumerate(bleu.score(sums).T, 1):
                    figures.setdefault(f"bleu_{n}", []).append(column)
            elif name == "meteor":
                figures.setdefault(name, []).append(meteor.score(sums))
            else:
                figures.setdefault(name, []).append(sums[:, 0] / draw.shape[1])
    return {name: np.concatenate(figures[name]) for name in LABELS if name in figures}


def _metric(value: Samples, samples: Samples) -> Metric:
    low, high = np.percentile(samples, [2.5, 97.5])
    return Metric(value.item(), float(low), float(high))


def _warnings(pictures: int) -> tuple[str, ...]:
    if pictures >= SMALL:
        return ()
    return (
        f"{pictures} pictures are few: over random sets of one size CIDEr-D's standard deviation is .105 at 50, "
        ".046 at 200 and .024 at 500 pictures; never compare scores of sets of different size",
    )
