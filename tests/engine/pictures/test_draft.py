"""JPEGs are decoded at a fraction of their size only where that changes next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blipq.worker.engine.picture import Limits, Shape, decode


@pytest.fixture(scope="module")
def twelve_megapixels(photos: list[Path]) -> list[Image.Image]:
    """Photos at 4,000 x 3,000 with a sensor's noise: no camera's file is at hand."""
    noise = np.random.default_rng(0).normal(0, 4, (3000, 4000, 1)).astype(np.int16)
    made = []
    for path in photos[:60:30]:
        large = np.asarray(Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.LANCZOS))
        made.append(Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)))
    return made


def test_draft_stays_within_half_a_level_of_full_decoding(
    twelve_megapixels: list[Image.Image], encode: Callable[..., bytes], limits: Limits
) -> None:
    for image in twelve_megapixels:
        data = encode(image, "JPEG", quality=90)
        full = decode(data, Shape(384, 384, draft=False), limits)
        draft = decode(data, Shape(384, 384), limits)
        assert not np.array_equal(full.pixels, draft.pixels)  # it was a draft
        assert np.abs(full.pixels.astype(int) - draft.pixels).mean() < 0.5
        assert (draft.sha256, draft.width, draft.height) == (full.sha256, 4000, 3000)


@pytest.mark.parametrize(("size", "orientation"), [((1457, 1459), 1), ((1457, 1459), 7), ((3001, 2999), 6)])
def test_draft_keeps_every_pixel_in_its_place(
    size: tuple[int, int], orientation: int, encode: Callable[..., bytes], oriented: Callable[[int], Image.Exif],
    limits: Limits,
) -> None:  # fmt: skip
    # Given a smooth picture whose size no fraction divides
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    smooth = np.stack([x / size[0], y / size[1], (x + y) / sum(size)], axis=2) * 255
    image = Image.fromarray(smooth.astype(np.uint8))
    data = encode(image, "JPEG", quality=95, exif=oriented(orientation))
    shape = Shape(384, 352)
    full = decode(data, Shape(384, 352, draft=False), limits).pixels.astype(int)
    draft = decode(data, shape, limits).pixels.astype(int)
    # Then even the far edges agree
    assert np.abs(full - draft).mean() < 0.5
    assert np.abs(full[-1] - draft[-1]).mean() < 1
    assert np.abs(full[:, -1] - draft[:, -1]).mean() < 1


def test_small_pictures_are_never_drafts(photos: list[Path], limits: Limits) -> None:
    data = photos[0].read_bytes()
    drafted, full = (decode(data, Shape(384, 384, draft=draft), limits) for draft in (True, False))
    assert np.array_equal(drafted.pixels, full.pixels)


def test_cut_drafts_are_refused_too(
    twelve_megapixels: list[Image.Image], encode: Callable[..., bytes], limits: Limits
) -> None:
    for progressive in (False, True):
        data = encode(twelve_megapixels[0], "JPEG", quality=70, progressive=progressive)
        assert decode(data[: len(data) * 7 // 10], Shape(384, 384), limits).kind == "corrupt"
