"""Ways to caption a list of files with BLIP, each written from its description; `caption.py` lets them take turns.

Every contestant is called with paths and returns token ids a picture. Random weights never emit the end token, so all
of them write exactly `tokens` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from blipq.worker.engine.captioner import Captioner, Decoding
from blipq.worker.engine.picture import Limits, Picture, Shape, decode

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LIMITS = Limits(pixels=50_000_000, bytes=200_000_000, memory=2_000_000_000, seconds=60)
Tokens = list[tuple[int, ...]]


@dataclass(frozen=True)
class Contestant:
    """`run` captions files; `batch` pictures a call of the model."""

    name: str
    precision: str
    batch: int
    beams: int
    run: Callable[[Sequence[Path]], Tokens]


def batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Split into runs of `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


class HuggingFace:
    """transformers' model and processor, on a device, in a precision."""

    def __init__(self, folder: str, device: str, precision: str, tokens: int) -> None:
        self.processor = BlipProcessor.from_pretrained(folder)
        self.model = BlipForConditionalGeneration.from_pretrained(folder, dtype=DTYPES[precision]).to(device).eval()
        self.device, self.precision, self.tokens = device, precision, tokens

    def generate(self, values: torch.Tensor, beams: int) -> Tokens:
        """Pixels (B, 3, H, W) → tokens without [DEC]."""
        values = values.to(self.device, DTYPES[self.precision])
        with torch.inference_mode():
            ids = self.model.generate(
                pixel_values=values, num_beams=beams, min_new_tokens=self.tokens, max_new_tokens=self.tokens
            )
        return [tuple(row[1:]) for row in ids.tolist()]

    def read(self, paths: Sequence[Path]) -> torch.Tensor:
        """Open, turn into RGB and process as the model's card shows."""
        images = [Image.open(path).convert("RGB") for path in paths]
        return self.processor(images=images, return_tensors="pt").pixel_values


def notebook(hf: HuggingFace, beams: int) -> Contestant:
    """The fine-tuning notebook's loop: open, process and generate one image a call, in fp32."""

    def run(paths: Sequence[Path]) -> Tokens:
        return [hf.generate(hf.read([path]), beams)[0] for path in paths]

    return Contestant("notebook loop", hf.precision, 1, beams, run)


def generate(hf: HuggingFace, batch: int, beams: int) -> Contestant:
    """`generate` on batches, opened and processed in the same thread."""

    def run(paths: Sequence[Path]) -> Tokens:
        return [tokens for some in batches(paths, batch) for tokens in hf.generate(hf.read(some), beams)]

    return Contestant("HF generate", hf.precision, batch, beams, run)


class _Files(torch.utils.data.Dataset[Any]):
    def __init__(self, hf: HuggingFace, paths: Sequence[Path]) -> None:
        self.processor, self.paths = hf.processor, paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Any:
        image = Image.open(self.paths[place]).convert("RGB")
        return self.processor(images=image, return_tensors="pt").pixel_values[0]


def data_loader(hf: HuggingFace, batch: int, beams: int, workers: int = 2) -> Contestant:
    """The batch script that LoRA trainers come with: a Dataset that opens and processes, a DataLoader with workers."""

    def run(paths: Sequence[Path]) -> Tokens:
        loader = torch.utils.data.DataLoader(_Files(hf, paths), batch_size=batch, num_workers=workers)
        return [tokens for values in loader for tokens in hf.generate(values, beams)]

    return Contestant("DataLoader script", hf.precision, batch, beams, run)


def blipq_engine(captioner: Captioner, batch: int, beams: int, tokens: int) -> Contestant:
    """blipq's engine in one thread: its decoder (which also hashes and checks each file), its forward, its loop."""
    shape = captioner.preprocessing
    wanted = Shape(shape.height, shape.width, Image.Resampling(shape.resample))
    asked = Decoding(num_beams=beams, min_new_tokens=tokens, max_new_tokens=tokens)

    def read(path: Path) -> np.ndarray:
        picture = decode(path.read_bytes(), wanted, LIMITS)
        assert isinstance(picture, Picture), picture
        return picture.pixels

    def run(paths: Sequence[Path]) -> Tokens:
        found: Tokens = []
        for some in batches(paths, batch):
            captions = captioner.caption(
                np.stack([read(path) for path in some]), [""] * len(some), asked, [0] * len(some)
            )
            found += [caption.tokens for caption in captions]
        return found

    return Contestant("blipq", captioner.precision, batch, beams, run)
