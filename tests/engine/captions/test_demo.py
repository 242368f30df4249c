"""On trained weights, the bundled demo checkpoint: Hugging Face's token ids in fp32, the same captions in bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipProcessor

from blipq.demo import scenes
from blipq.worker.engine.captioner import Caption, Captioner, Decoding, open_captioner

CHECKPOINT = Path(__file__).parents[3] / "demo" / "checkpoint"
PROMPTS = ["", "a red", "", "a", "two small", "a big blue"]


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """300 held-out scenes at the model's size."""
    images = [scenes.draw("scenes", seed, held_out=True).image for seed in range(300)]
    return np.stack([np.asarray(image.resize((96, 96), 3)) for image in images])


@pytest.fixture(scope="module")
def full() -> Captioner:
    return open_captioner(str(CHECKPOINT), "cpu", "fp32")


def captions(captioner: Captioner, pixels: np.ndarray, decoding: Decoding) -> list[Caption]:
    return [
        caption
        for start in range(0, len(pixels), 50)
        for caption in captioner.caption(pixels[start : start + 50], [""] * 50, decoding, range(50))
    ]


@pytest.mark.parametrize("beams", [1, 3])
def test_token_ids_equal_hugging_face_on_trained_weights(full: Captioner, drawn: np.ndarray, beams: int) -> None:
    model = BlipForConditionalGeneration.from_pretrained(CHECKPOINT).eval()
    processor = BlipProcessor.from_pretrained(CHECKPOINT, backend="pil")
    pixels = drawn[:48]
    prompts = [PROMPTS[place % len(PROMPTS)] for place in range(len(pixels))]
    asked: dict[str, Any] = {"num_beams": beams, "max_new_tokens": 20}
    ours = full.caption(pixels, prompts, Decoding(**asked), range(len(pixels)))
    for caption, picture, prompt in zip(ours, pixels, prompts, strict=True):
        inputs = processor(images=[picture], **({"text": [prompt]} if prompt else {}), return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, **asked)[0].tolist()
        begun = inputs["input_ids"].shape[1] - 1 if prompt else 1
        assert caption.tokens == tuple(ids[begun:])
        assert caption.text == processor.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("beams", [1, 3])
def test_bf16_writes_the_same_caption_for_99_of_100(full: Captioner, drawn: np.ndarray, beams: int) -> None:
    half = open_captioner(str(CHECKPOINT), "cpu", "bf16")
    decoding = Decoding(num_beams=beams)
    pairs = zip(captions(full, drawn, decoding), captions(half, drawn, decoding), strict=True)
    equal = sum(one.tokens == other.tokens for one, other in pairs)
    assert equal >= 0.99 * len(drawn), f"{equal} of {len(drawn)}"
