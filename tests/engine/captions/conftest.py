"""Tiny real BLIPs whose logits are far apart, so that equal token ids mean an equal computation and not luck."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blipq.worker.engine.blip import Checkpoint
from blipq.worker.engine.captioner import Caption, Captioner, Decoding
from blipq.worker.engine.preprocessing import DEFAULT_MEAN, DEFAULT_STD, Preprocessing

os.environ.setdefault("OMP_NUM_THREADS", "1")
VOCABULARY = """[PAD] [UNK] [CLS] [SEP] [MASK] a an the cat dog man ball red blue green on under left right of with
and two three photo small big tree house car boat sea sky sun moon bird fish"""
WORDS = VOCABULARY.split()
DEC = len(WORDS)  # as in the published checkpoints, the tokenizer knows no [DEC]


def tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: place for place, word in enumerate(WORDS)})


def tiny_model(
    *, seed: int = 0, side: int = 32, patch: int = 8, end_bias: float = 0.0, text: Any = None, vision: Any = None
) -> BlipForConditionalGeneration:
    """A BLIP with weights drawn wide: embeddings of deviation 1 give logits of deviation √width."""
    config = BlipConfig(
        vision_config={
            **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"image_size": side, "patch_size": patch, **(vision or {})},
        },
        text_config={
            **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"vocab_size": DEC + 2, "bos_token_id": DEC, "sep_token_id": 3, "pad_token_id": 0, "eos_token_id": 3},
            **{"max_position_embeddings": 64, "encoder_hidden_size": 32, **(text or {})},
        },
    )
    model = BlipForConditionalGeneration(config).eval().requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if weight.dim() >= 2:
            spread = (
                2.0
                if "position_embeddings" in name
                else 1.0
                if "embedding" in name and "patch" not in name
                else 2.5 * weight[0].numel() ** -0.5
            )
            weight.copy_(torch.randn(weight.shape, generator=random) * spread)
        elif "norm" in name.lower() and name.endswith("weight"):
            weight.copy_(1 + 0.2 * torch.randn(weight.shape, generator=random))
        else:
            weight.copy_(0.2 * torch.randn(weight.shape, generator=random))
    model.text_decoder.bert.embeddings.word_embeddings.weight[3] *= 2  # ends here and there, not always or never
    model.text_decoder.cls.predictions.decoder.bias[3] += end_bias
    return model


def preprocessing(model: BlipForConditionalGeneration) -> Preprocessing:
    side = model.config.vision_config.image_size
    return Preprocessing(side, side, 3, DEFAULT_MEAN, DEFAULT_STD, "test")


def captioner_of(model: BlipForConditionalGeneration, precision: str = "fp32") -> Captioner:
    checkpoint = Checkpoint(model, tokenizer(), preprocessing(model), model.num_parameters())
    return Captioner(checkpoint, torch.device("cpu"), precision)


def pictures(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Blocks of colour, so that pictures differ by more than noise."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return blocks.repeat(side // 4, 1).repeat(side // 4, 2)


def normalised(pixels: np.ndarray, shape: Preprocessing) -> torch.Tensor:
    """As Hugging Face's processor: (B, 3, H, W) in fp32."""
    scaled = torch.from_numpy(pixels).float() / 255
    return ((scaled - torch.tensor(shape.mean)) / torch.tensor(shape.std)).permute(0, 3, 1, 2)


def hugging_face(
    model: BlipForConditionalGeneration,
    words: Any,
    values: torch.Tensor,
    prompts: Sequence[str],
    decoding: Decoding,
) -> list[tuple[int, ...]]:
    """The emitted tokens of `generate`, one picture a call: its batches get prompts of mixed lengths wrong."""
    asked = {
        name: getattr(decoding, name)
        for name in ("num_beams", "max_new_tokens", "repetition_penalty", "no_repeat_ngram_size", "do_sample")
    }
    if decoding.min_new_tokens:
        asked["min_new_tokens"] = decoding.min_new_tokens
    if decoding.num_beams > 1:
        asked |= {"length_penalty": decoding.length_penalty, "early_stopping": decoding.early_stopping}
    found = []
    for value, prompt in zip(values, prompts, strict=True):
        text = words(prompt, return_tensors="pt", return_token_type_ids=False) if prompt else {}
        ids = model.generate(pixel_values=value[None], **text, **asked)[0].tolist()
        emitted = ids[text["input_ids"].shape[1] - 1 if prompt else 1 :]
        end = model.config.text_config.sep_token_id
        found.append(tuple(emitted[: emitted.index(end) + 1] if end in emitted else emitted))
    return found


class Tiny:
    """A captioner and the Hugging Face model whose weights it runs."""

    def __init__(self, model: BlipForConditionalGeneration, precision: str = "fp32") -> None:
        self.model = model
        self.captioner = captioner_of(model, precision)

    def pictures(self, count: int, seed: int = 0) -> np.ndarray:
        return pictures(count, self.captioner.preprocessing.height, seed)

    def ours(self, pixels: np.ndarray, decoding: Decoding, prompts: Sequence[str] | None = None) -> list[Caption]:
        return self.captioner.caption(pixels, prompts or [""] * len(pixels), decoding, range(len(pixels)))

    def theirs(
        self, pixels: np.ndarray, decoding: Decoding, prompts: Sequence[str] | None = None
    ) -> list[tuple[int, ...]]:
        values = normalised(pixels, self.captioner.preprocessing)
        return hugging_face(self.model, tokenizer(), values, prompts or [""] * len(pixels), decoding)


@pytest.fixture(scope="session")
def build() -> Callable[..., Tiny]:
    """Build a tiny model from what differs from the usual one."""

    def make(precision: str = "fp32", **differs: Any) -> Tiny:
        return Tiny(tiny_model(**differs), precision)

    return make


@pytest.fixture(scope="session")
def tiny(build: Callable[..., Tiny]) -> Tiny:
    return build()


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """The tiny model as a checkpoint of transformers."""
    return save(tiny.model, tmp_path / "model")


def save(model: BlipForConditionalGeneration, target: Path) -> Path:
    model.save_pretrained(target)
    side = model.config.vision_config.image_size
    images = BlipImageProcessorPil(size={"height": side, "width": side})
    BlipProcessor(images, tokenizer()).save_pretrained(target)
    return target
