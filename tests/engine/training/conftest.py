"""A tiny BLIP with a vocabulary of its own, and drawn pictures with captions, made in each session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_NUM_THREADS", "1")

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "orange": (240, 140, 20),
    "purple": (140, 40, 160),
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "of", "picture", "square", "on", "left", "right"]
SIDE = 32


def caption_of(first: str, second: str) -> str:
    return f"a {first} square on the left of a {second} square"


def draw(first: str, second: str, noise: int = 0) -> Image.Image:
    """Two coloured halves; `noise` makes pictures of one caption differ."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, : SIDE // 2] = COLOURS[first]
    pixels[:, SIDE // 2 :] = COLOURS[second]
    random = np.random.default_rng(noise)
    return Image.fromarray(np.clip(pixels.astype(int) + random.integers(-9, 10, pixels.shape), 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock BLIP folder: 32 px, patch 8, two layers of width 32 each, a vocabulary of 23 words, random weights."""
    import torch
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder = tmp_path_factory.mktemp("tiny") / "blip"
    folder.mkdir()
    words = [*WORDS, *COLOURS]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt"))
    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = BlipConfig(
        vision_config={**tower, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.02},
        text_config={
            **tower,
            "encoder_hidden_size": 64,
            "vocab_size": len(words) + 2,
            "bos_token_id": len(words),
            "sep_token_id": 3,
            "eos_token_id": 3,
            "pad_token_id": 0,
            "max_position_embeddings": 512,
        },
        projection_dim=64,
        image_text_hidden_size=64,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    BlipProcessor(BlipImageProcessorPil(size=size), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """Left and right colours, each two of them once, shuffled."""
    listed = list(combinations(COLOURS, 2))
    return [listed[index] for index in np.random.default_rng(0).permutation(len(listed))]


@pytest.fixture
def photos(tmp_path: Path, pairs: list[tuple[str, str]]) -> Callable[..., Path]:
    """`photos(8)`: a folder of so many pictures with a metadata.jsonl, each with a caption of its own."""

    def make(count: int, name: str = "photos") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for number in range(count):
            first, second = pairs[number % len(pairs)]
            draw(first, second, number).save(folder / f"{number:03}.png")
            lines.append(json.dumps({"file_name": f"{number:03}.png", "text": caption_of(first, second)}))
        (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return make


@pytest.fixture
def plan_of(tiny_blip: Path, tmp_path: Path) -> Callable[..., Any]:
    """`plan_of(folder, lr=1e-3)`: a plan on the tiny BLIP, in fp32 on the CPU."""
    from blipq.worker.engine.training.plan import Plan

    def make(data: Path, **changes: Any) -> Plan:
        values = {"base": str(tiny_blip), "data": str(data), "out": str(tmp_path / "run"), "devices": ("cpu",)}
        return Plan(**{**values, "precision": "fp32", "lr": 1e-3, "batch_size": 2, "epochs": 2, **changes})

    return make


class Child:
    """The training process as a worker starts it, its events read as they come."""

    def __init__(self, plan: Any, *arguments: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "blipq.worker.engine.training.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(plan if isinstance(plan, dict) else plan.to_json()))
        self.process.stdin.close()
        self.process.stdin = None

    def read(self, until: Callable[[dict[str, Any]], bool] = lambda event: False) -> list[dict[str, Any]]:
        """Events up to the one that `until` takes, or to the end."""
        events = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            events.append(json.loads(line))
            if until(events[-1]):
                break
        return events

    def end(self) -> tuple[list[dict[str, Any]], int]:
        """What is left, and the exit status."""
        events = self.read()
        _, log = self.process.communicate(timeout=60)
        self.log = log
        return events, self.process.returncode


@pytest.fixture
def child() -> Any:
    """Starts `Child`s; what a test left running is ended."""
    started: list[Child] = []

    def start(plan: Any, *arguments: str, **environment: str) -> Child:
        started.append(Child(plan, *arguments, environment=environment))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.fixture(scope="session")
def of_kind() -> Callable[[Sequence[Any], type], list[Any]]:
    """`of_kind(events, Step)`."""
    return lambda events, kind: [event for event in events if isinstance(event, kind)]
