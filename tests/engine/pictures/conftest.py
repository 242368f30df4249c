"""Pictures at hand: real photos and nasty files where the checkout has them, drawn ones everywhere."""

from __future__ import annotations

import io
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blipq.worker.engine.picture import Limits

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2].parent / "shared" / "data"
LIMITS = Limits(pixels=50_000_000, bytes=200_000_000, memory=2_000_000_000, seconds=20)


@pytest.fixture
def limits() -> Limits:
    return LIMITS


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    found = sorted((SHARED / "photos").glob("*.jpg"))
    if not found:
        pytest.skip("no ../shared/data/photos beside this checkout")
    return found


@pytest.fixture(scope="session")
def nasty() -> Path:
    if not (SHARED / "nasty").is_dir():
        pytest.skip("no ../shared/data/nasty beside this checkout")
    return SHARED / "nasty"


@pytest.fixture(scope="session")
def scene() -> Image.Image:
    """A drawn picture of 96 x 64 without any symmetry, so that every turn of it shows."""
    y, x = np.mgrid[0:64, 0:96]
    pixels = np.stack([x * 2, y * 3, (x * y) % 251], axis=2).astype(np.uint8)
    pixels[5:25, 8:20] = (250, 30, 30)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Save a picture into bytes: `encode(image, "PNG", **options)`."""

    def save(image: Image.Image, format: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return save


@pytest.fixture(scope="session")
def oriented() -> Callable[[int], Image.Exif]:
    def exif(orientation: int) -> Image.Exif:
        tags = Image.Exif()
        tags[0x0112] = orientation
        return tags

    return exif


@pytest.fixture(scope="session")
def cameras() -> dict[str, Callable[[bytes, bytes, int], bytes]]:
    """By a RAW format's name, what writes one: see `cameras.py`."""
    made: dict[str, Callable[[bytes, bytes, int], bytes]] = runpy.run_path(str(HERE / "cameras.py"))["CAMERAS"]
    return made


@pytest.fixture(scope="session")
def poison() -> list[str]:
    """The command of a decode process that does what the picture's bytes tell it: crash, hog, hang."""
    return [sys.executable, "-P", str(HERE / "poison_child.py")]
