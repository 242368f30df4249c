"""What a caption's fields mean, and that a row's result is its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from blipq.worker.engine import sample
from blipq.worker.engine.captioner import Decoding

PROMPTS = ["", "a photo of", "the", "two big red cat and a dog", "", "a small boat on the sea with", "", "a"]


def test_score_is_the_mean_log_probability_of_the_emitted_tokens(tiny: Any) -> None:
    pixels = tiny.pictures(4)
    exact = deepcopy(tiny.model).double()  # fp32 is off by up to 1e-4 itself, Hugging Face's as well as ours
    for decoding in (Decoding(), Decoding(num_beams=3), Decoding(repetition_penalty=1.5), Decoding(do_sample=True)):
        captions = tiny.ours(pixels, decoding, ["", "a photo", "the", ""])
        for caption, prompt, picture in zip(captions, ["", "a photo", "the", ""], pixels, strict=True):
            words = tiny.captioner._tokenizer(prompt)["input_ids"][1:-1]
            ids = torch.tensor([[tiny.captioner._start, *words, *caption.tokens]])
            scaled = (torch.tensor(picture).double() / 255 - torch.tensor(tiny.captioner.preprocessing.mean)) / (
                torch.tensor(tiny.captioner.preprocessing.std)
            )
            logits = exact(pixel_values=scaled.permute(2, 0, 1)[None], input_ids=ids).logits[0]
            places = range(len(words), len(words) + len(caption.tokens))
            expected = [logits[at].log_softmax(-1)[ids[0, at + 1]].item() for at in places]
            assert caption.score == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_text_holds_prompt_and_continuation_and_cut_says_how_it_ended(tiny: Any) -> None:
    long = tiny.ours(tiny.pictures(6), Decoding(max_new_tokens=3, min_new_tokens=3), ["a photo of"] * 6)
    free = tiny.ours(tiny.pictures(6), Decoding(max_new_tokens=40))
    assert all(caption.text.startswith("a photo of") and caption.cut for caption in long)
    assert any(not caption.cut for caption in free)
    for caption in free:
        assert caption.cut == (caption.tokens[-1] != 3)
        assert "[" not in caption.text.replace("[UNK]", "").replace("[MASK]", "")


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(num_beams=3), Decoding(do_sample=True, temperature=1.5)])
def test_a_caption_does_not_depend_on_its_batch(build: Callable[..., Any], decoding: Decoding) -> None:
    tiny = build(end_bias=2.0)
    # Given eight pictures with prompts of several lengths, whose captions end at different places
    pixels, seeds = tiny.pictures(8, seed=1), [11, 12, 13, 14, 15, 16, 17, 18]
    decoding = replace(decoding, max_new_tokens=30)
    together = tiny.captioner.caption(pixels, PROMPTS, decoding, seeds)
    assert len({len(caption.tokens) for caption in together}) > 2, "rows must leave at different steps"
    # When each is captioned alone, and all in reverse, then nothing changes
    for row in range(8):
        alone = tiny.captioner.caption(pixels[row : row + 1], PROMPTS[row : row + 1], decoding, seeds[row : row + 1])
        assert alone[0].tokens == together[row].tokens
    reverse = tiny.captioner.caption(pixels[::-1], PROMPTS[::-1], decoding, seeds[::-1])
    assert [caption.tokens for caption in reverse[::-1]] == [caption.tokens for caption in together]


def test_attending_over_all_columns_as_a_graph_does_changes_nothing(build: Callable[..., Any]) -> None:
    # Given the plain path, which attends over the columns written so far
    tiny = build()
    pixels = tiny.pictures(8)
    for decoding in (Decoding(max_new_tokens=24), Decoding(num_beams=3, max_new_tokens=24)):
        plain = tiny.ours(pixels, decoding, PROMPTS)
        # When the step is run as a graph runs it: fixed shapes, a bucket of rows, finished rows carried along
        tiny.captioner._graphs = FixedShapes()
        tiny.captioner._state = None
        fixed = tiny.ours(pixels, decoding, PROMPTS)
        assert tiny.captioner._graphs.steps > 5
        tiny.captioner._graphs = tiny.captioner._state = None
        # Then the captions are the same
        assert [caption.tokens for caption in fixed] == [caption.tokens for caption in plain]


class FixedShapes:
    """What `stepper.Graphs` does on a CUDA device, without the recording."""

    steps = 0

    def forget(self) -> None:
        pass

    def step(self, text: Any, state: Any, pictures: int) -> torch.Tensor:
        from blipq.worker.engine.stepper import bucket

        self.steps += 1
        rows = min(bucket(pictures), state.images) * state.beams
        return text.step(state, rows, state.columns)[: pictures * state.beams]


def test_a_seed_gives_the_same_caption_and_seeds_differ(tiny: Any) -> None:
    pixels = tiny.pictures(1).repeat(16, 0)
    wild = Decoding(do_sample=True, temperature=6.0, top_k=0)
    first = tiny.captioner.caption(pixels, [""] * 16, wild, range(16))
    again = tiny.captioner.caption(pixels, [""] * 16, wild, range(16))
    assert [caption.tokens for caption in first] == [caption.tokens for caption in again]
    assert len({caption.tokens for caption in first}) > 12
    greedy = tiny.captioner.caption(pixels[:1], [""], Decoding(), [0])
    narrow = tiny.captioner.caption(pixels[:1], [""], replace(wild, top_k=1), [5])
    assert narrow[0].tokens == greedy[0].tokens


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(do_sample=True, top_k=0),
        Decoding(do_sample=True, top_k=0, temperature=3.0),
        Decoding(do_sample=True, top_k=5, temperature=3.0),
        Decoding(do_sample=True, top_k=0, top_p=0.8, temperature=3.0),
    ],
    ids=repr,
)
def test_first_tokens_are_drawn_as_hugging_face_would(tiny: Any, decoding: Decoding) -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    # Given the distribution that Hugging Face's own warpers make of the model's first logits
    draws = 3000
    pixels = tiny.pictures(1)
    values = (torch.tensor(pixels).float() / 255 - torch.tensor(tiny.captioner.preprocessing.mean)) / torch.tensor(
        tiny.captioner.preprocessing.std
    )
    ids = torch.tensor([[tiny.captioner._start]])
    scores = tiny.model(pixel_values=values.permute(0, 3, 1, 2), input_ids=ids).logits[:, 0]
    for warper in (
        TemperatureLogitsWarper(decoding.temperature),
        *([TopKLogitsWarper(decoding.top_k)] if decoding.top_k else []),
        *([TopPLogitsWarper(decoding.top_p)] if decoding.top_p < 1 else []),
    ):
        scores = warper(ids, scores)
    expected = scores.softmax(-1)[0].double().numpy()
    # When many seeds draw
    one = replace(decoding, max_new_tokens=1)
    counts: Counter[int] = Counter()
    for start in range(0, draws, 1000):
        drawn = tiny.captioner.caption(pixels.repeat(1000, 0), [""] * 1000, one, range(start, start + 1000))
        counts.update(caption.tokens[0] for caption in drawn)
    # Then nothing outside of it is drawn, and the distance is that of chance: its mean is √(kinds / (2π·draws)) or so
    assert all(expected[token] > 0 for token in counts)
    distance = 0.5 * sum(abs(counts[token] / draws - share) for token, share in enumerate(expected))
    assert distance < 2 * np.sqrt((expected > 0).sum() / (2 * np.pi * draws))


def test_uniforms_are_uniform_and_independent_of_neighbouring_seeds() -> None:
    values = np.array([[sample.uniform(seed, number) for number in range(20)] for seed in range(-500, 500)])
    assert 0 <= values.min() < 0.001 < 0.999 < values.max() < 1
    assert np.allclose(np.histogram(values, 10)[0] / values.size, 0.1, atol=0.01)
    assert np.abs(np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]) < 0.03
    assert np.abs(np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]) < 0.03


def test_wrong_input_is_named_in_one_line(tiny: Any) -> None:
    pixels = tiny.pictures(2)
    with pytest.raises(ValueError, match=r"uint8 \(2, 16, 16, 3\)"):
        tiny.captioner.caption(pixels[:, :16, :16], ["", ""], Decoding(), [0, 0])
    with pytest.raises(ValueError, match="1 prompts"):
        tiny.captioner.caption(pixels, [""], Decoding(), [0, 0])
    with pytest.raises(ValueError, match="leave room for max_new_tokens"):
        tiny.captioner.caption(pixels, ["", "a cat " * 30], Decoding(), [0, 0])
    with pytest.raises(ValueError, match="sampling or beams"):
        Decoding(num_beams=2, do_sample=True)
    assert tiny.captioner.caption(pixels[:0], [], Decoding(), []) == []


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_writes_nearly_the_same(build: Callable[..., Any], precision: str) -> None:
    full, half = build(), build(precision)
    pixels = full.pictures(16)
    decoding = Decoding(max_new_tokens=4, min_new_tokens=4)
    pairs = list(zip(full.ours(pixels, decoding), half.ours(pixels, decoding), strict=True))
    equal = [(one, other) for one, other in pairs if one.tokens == other.tokens]
    assert len(equal) >= 12  # random weights; the trained checkpoint has its own, stricter test
    apart = sorted(abs(other.score - one.score) for one, other in equal)
    assert apart[len(apart) // 2] < 0.03
    assert apart[-1] < 0.5


def test_the_model_can_be_closed(build: Callable[..., Any]) -> None:
    tiny = build()
    assert tiny.captioner.warm_up(2) > 0
    tiny.captioner.close()
