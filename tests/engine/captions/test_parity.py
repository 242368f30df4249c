"""The same token ids as Hugging Face's `generate` in fp32, one picture a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blipq.worker.engine.captioner import Decoding

PROMPTS = ["", "a photo of", "the", "two big red cat and a dog", "", "a small boat on the sea with"]


def same(tiny: Any, decoding: Decoding, prompts: list[str] | None = None, count: int = 6, seed: int = 0) -> None:
    pixels = tiny.pictures(count, seed)
    ours = tiny.ours(pixels, decoding, prompts)
    theirs = tiny.theirs(pixels, decoding, prompts)
    assert [caption.tokens for caption in ours] == theirs
    assert len(set(theirs)) > 1, "the pictures must matter"


@pytest.mark.parametrize("prompts", [None, PROMPTS], ids=["without prompts", "prompts of mixed lengths"])
@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(),
        Decoding(max_new_tokens=1),
        Decoding(max_new_tokens=9, min_new_tokens=9),
        Decoding(repetition_penalty=1.7),
        Decoding(no_repeat_ngram_size=2, max_new_tokens=14, min_new_tokens=6),
        Decoding(num_beams=3),
        Decoding(num_beams=3, max_new_tokens=1),
        Decoding(num_beams=3, max_new_tokens=9, min_new_tokens=9),
        Decoding(num_beams=2, length_penalty=2.0, early_stopping=True),
        Decoding(num_beams=4, length_penalty=-1.0, early_stopping="never"),
        Decoding(num_beams=3, length_penalty=0.0, early_stopping="never"),
        Decoding(num_beams=3, length_penalty=1.5, early_stopping="never", max_new_tokens=12),
        Decoding(num_beams=3, repetition_penalty=1.5, no_repeat_ngram_size=3, min_new_tokens=3),
    ],
    ids=repr,
)
def test_token_ids_equal_hugging_face(tiny: Any, decoding: Decoding, prompts: list[str] | None) -> None:
    same(tiny, decoding, prompts)


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    def heads_and_width() -> dict[str, int]:
        heads = draw(st.sampled_from([1, 2, 3, 4]))
        width = heads * draw(st.sampled_from([8, 12, 16]))
        return {
            **{"num_attention_heads": heads, "hidden_size": width},
            **{"intermediate_size": draw(st.sampled_from([24, 64])), "num_hidden_layers": draw(st.integers(1, 3))},
        }

    patch = draw(st.sampled_from([8, 16]))
    return {
        **{"seed": draw(st.integers(0, 2**16)), "patch": patch, "side": patch * draw(st.sampled_from([2, 3, 4]))},
        **{"end_bias": draw(st.sampled_from([0.0, 2.0, 5.0])), "text": heads_and_width(), "vision": heads_and_width()},
    }


@st.composite
def decodings(draw: st.DrawFn) -> Decoding:
    most = draw(st.integers(1, 14))
    return Decoding(
        num_beams=draw(st.sampled_from([1, 1, 2, 3, 5])),
        max_new_tokens=most,
        min_new_tokens=draw(st.integers(0, most)),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 1.3, 0.8])),
        length_penalty=draw(st.sampled_from([1.0, 0.0, 2.0, -0.5])),
        no_repeat_ngram_size=draw(st.sampled_from([0, 0, 1, 2, 3])),
        early_stopping=draw(st.sampled_from([False, True, "never"])),
    )


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(model=models(), decoding=decodings(), prompts=st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=5))
def test_any_small_model_and_decoding_equals_hugging_face(
    build: Callable[..., Any], model: dict[str, Any], decoding: Decoding, prompts: list[str]
) -> None:
    tiny = build(**model)
    pixels = tiny.pictures(len(prompts))
    ours = tiny.ours(pixels, decoding, prompts)
    assert [caption.tokens for caption in ours] == tiny.theirs(pixels, decoding, prompts)


@pytest.mark.parametrize("beams", [1, 3])
def test_full_width_with_few_layers_equals_hugging_face(build: Callable[..., Any], beams: int) -> None:
    full = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    wide = build(
        **{"side": 384, "patch": 16, "vision": {**full, "num_hidden_layers": 1}},
        text={**full, "num_hidden_layers": 2, "encoder_hidden_size": 768},
    )
    same(wide, Decoding(num_beams=beams, max_new_tokens=8), ["", "a photo of a dog", "the"], count=3)
