from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blipq.worker.engine.metrics import words


def test_words_equal_those_of_the_stanford_tokeniser(coco):
    wrong = {caption: (words(caption), theirs) for caption, theirs in coco["tokens"] if words(caption) != theirs}

    assert wrong == {}
    assert len(coco["tokens"]) > 120


def test_words_equal_the_stored_ones_of_the_whole_sample(shared_metrics):
    sample = json.loads((shared_metrics / "fakecap_126_subset.json").read_text(encoding="utf-8"))

    for key, captions in sample["references"].items():
        assert [words(caption) for caption in captions] == sample["references_ptb"][key]
    for key, caption in sample["candidates"].items():
        assert [words(caption)] == sample["candidates_ptb"][key]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A dog's bowl isn't here.", "a dog 's bowl is n't here"),
        ("Two (red) chairs", "two -lrb- red -rrb- chairs"),
        ("a well-known T-shirt, 1/2 price!!", "a well-known t-shirt 1/2 price !!"),
        ("... , . ;", ""),
        ("", ""),
    ],
)
def test_words_drop_cocos_punctuation_and_keep_what_its_list_misses(caption, expected):
    assert words(caption) == expected


def test_words_of_a_caption_over_several_lines_are_those_of_one_line():
    assert words("a dog\nand a\r\ncat") == "a dog and a cat"


@given(st.text(max_size=60))
def test_any_text_has_words_without_capitals_or_stray_spaces(text):
    found = words(text)

    assert found == found.lower()
    assert "" not in found.split(" ") or found == ""
