"""Every odd and broken file ends as its manifest says, in a real decode process under its memory limit."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blipq.worker.engine.picture import BadImage, Identity, Limits, Picture, Shape, decode
from blipq.worker.engine.pool import DecodePool, Request

NASTY = Path(__file__).resolve().parents[4] / "shared" / "data" / "nasty"
ROWS = list(csv.DictReader((NASTY / "manifest.csv").read_text().splitlines())) if NASTY.is_dir() else []
SHAPE = Shape(384, 384)


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1, Limits(50_000_000, 200_000_000, 1_000_000_000, 20)) as pool:
        yield pool


def test_manifest_is_at_hand(nasty: Path) -> None:
    assert len(ROWS) == len([file for file in (nasty / "files").iterdir() if file.is_file()])


@pytest.mark.parametrize("row", ROWS, ids=[row["file"].removeprefix("files/") for row in ROWS])
def test_nasty_file_ends_as_its_manifest_says(row: dict[str, str], pool: DecodePool) -> None:
    path, expected = bytes(NASTY / row["file"]), row["expected"]

    found = pool.submit(Request(path=path, shape=SHAPE)).result()
    known = pool.submit(Request(path=path)).result()

    if "Pillow recovers it" in expected or "or reject" in expected:
        assert isinstance(found, Picture) or (isinstance(found, BadImage) and found.kind != "crash")
    elif expected.startswith("caption") or row["class"] == "heif":  # pi-heif is a dependency
        assert isinstance(found, Picture), found
        assert found.pixels.shape == (384, 384, 3)
        assert known == Identity(found.sha256, found.width, found.height, found.format)
    else:
        assert expected.startswith("reject")
        assert isinstance(found, BadImage)
        assert found.kind in {"unsupported", "corrupt", "too-many-pixels"}
        assert found.message
        assert "\n" not in found.message


def test_text_in_place_of_a_picture_is_named(nasty: Path, limits: Limits) -> None:
    said = {name: decode((nasty / "files" / name).read_bytes(), SHAPE, limits) for name in
            ("made__git_lfs_pointer.png", "vips__blankpage.pdf", "made__zero_byte.jpg")}  # fmt: skip
    assert "git lfs pull" in said["made__git_lfs_pointer.png"].message
    assert said["vips__blankpage.pdf"].message == "a PDF document"
    assert said["made__zero_byte.jpg"].message == "the file is empty"


def test_turned_photos_equal_each_other(nasty: Path, limits: Limits) -> None:
    def pixels(name: str) -> np.ndarray:
        found = decode((nasty / "files" / name).read_bytes(), Shape(128, 128), limits)
        return found.pixels.astype(int)

    hoppers = [pixels(f"pillow__hopper_orientation_{turn}.jpg") for turn in (2, 4, 6, 8)]
    for turned in [*hoppers[1:], pixels("pillow__hopper_orientation_6.webp"), pixels("pillow__hopper.heif")]:
        assert np.abs(turned - hoppers[0]).mean() < 8  # each was compressed on its own
    scenes = [pixels("exif-ex__Landscape_3.jpg"), pixels("exif-ex__Landscape_8.jpg")]
    assert np.abs(scenes[0] - scenes[1]).mean() < 3


def test_flattened_on_white(nasty: Path, limits: Limits) -> None:
    found = decode((nasty / "files" / "made__fully_transparent.png").read_bytes(), SHAPE, limits)
    assert (found.pixels == 255).all()
