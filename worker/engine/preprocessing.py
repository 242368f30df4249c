"""What a checkpoint's pictures look like before they reach the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# OpenAI CLIP's, which are the class defaults of BLIP's processor.
DEFAULT_MEAN = (0.48145466, 0.4578275, 0.40821073)
DEFAULT_STD = (0.26862954, 0.26130258, 0.27577711)
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers


@dataclass(frozen=True)
class Preprocessing:
    """Size in pixels, Pillow's resampling filter, and mean and deviation of red, green, blue in 0…1."""

    height: int
    width: int
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    version: str
    """Names all of the above and the backend; belongs to a recipe, since other pixels give other captions."""


def read(folder: Path, image_size: int) -> Preprocessing:
    """Read the processor's configuration in a checkpoint's folder; without one, the class defaults at `image_size`.

    Always Pillow: transformers takes torchvision when it is installed, and its pixels differ.
    Raises ValueError for a size other than the model's and for a configuration that cannot be read.
    """
    found = _image_processor(folder)
    size = found.get("size", {"height": image_size, "width": image_size})
    height, width = (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))
    if (height, width) != (image_size, image_size):
        raise ValueError(f"its processor makes {height}x{width} pictures, its model takes {image_size}x{image_size}")
    # A factor other than 1/255 is the same as another mean and deviation.
    factor = 255 * found.get("rescale_factor", 1 / 255) if found.get("do_rescale", True) else 255.0
    normalise = found.get("do_normalize", True)
    mean = _three(found.get("image_mean", DEFAULT_MEAN) if normalise else (0.0, 0.0, 0.0), factor)
    std = _three(found.get("image_std", DEFAULT_STD) if normalise else (1.0, 1.0, 1.0), factor)
    resample = int(found.get("resample", 3))
    numbers = " ".join(",".join(f"{value:.5g}" for value in values) for values in (mean, std))
    version = f"pil-1 {height}x{width} {RESAMPLE[resample]} {numbers}"
    return Preprocessing(height, width, resample, mean, std, version)


def _three(values: Any, factor: float) -> tuple[float, float, float]:
    red, green, blue = (round(float(value) / factor, 12) for value in values)
    return red, green, blue


def _image_processor(folder: Path) -> dict[str, Any]:
    """transformers 5 writes `processor_config.json`, older ones `preprocessor_config.json`."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            found: dict[str, Any] = json.loads((folder / name).read_text())
            return dict(found.get("image_processor", found))
    return {}
