"""Mutated pictures: each is a picture or has a reason, one if Pillow alone refuses it, and the pool outlives them all.

300 of each kind in a normal run, 10,000 with `BLIPQ_TEST_LONG=1` (`make fuzz`); `FUZZ_SEED=7` draws others.
"""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from blipq.worker.engine.picture import BadImage, Identity, Kind, Limits, Picture, Shape
from blipq.worker.engine.pool import DecodePool, Request

COUNT = int(os.environ.get("FUZZ", 10_000)) if os.environ.get("BLIPQ_TEST_LONG") else 300
SEED = int(os.environ.get("FUZZ_SEED", "0"))
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
LIMITS = Limits(10_000_000, 1_000_000, 600_000_000, 20)
PLAIN = [sys.executable, "-P", str(Path(__file__).with_name("plain_child.py"))]
NASTY = Path(__file__).resolve().parents[4] / "shared" / "data" / "nasty" / "files"


def mutate(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """Flip, overwrite, cut, repeat, drop or transplant bytes; twice as often near the start, where headers are."""
    made = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(min(len(made), dice.choice((64, 512, 1 << 30)))) if made else 0
        length = dice.choice((1, 1, 2, 4, 4, 64))
        match dice.randrange(6):
            case 0:
                made[at : at + 1] = bytes([(made[at] if made else 0) ^ (1 << dice.randrange(8))])
            case 1:
                made[at : at + length] = dice.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
            case 2:
                made[at : at + length] = dice.randbytes(length)
            case 3:
                del made[at : at + dice.choice((length, 1 << 30) if at > 64 else (length,))]
            case 4:
                made[at:at] = made[at : at + dice.choice((4, 64, 1024))]
            case _:
                start = dice.randrange(len(other))
                made[at : at + length] = other[start : start + length]
    return with_right_checksums(bytes(made)) if dice.random() < 0.5 else bytes(made)


def with_right_checksums(png: bytes) -> bytes:
    """A mutated PNG as somebody who means harm would send it: its chunks' checksums are right."""
    made, at = bytearray(png), 8
    while png.startswith(b"\x89PNG") and at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4])
        if end + 4 > len(png):
            break
        made[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4)
        at = end + 4
    return bytes(made)


@pytest.fixture
def seeds(scene: Image.Image, encode: Callable[..., bytes], oriented: Callable[[int], Image.Exif]) -> list[bytes]:
    """Every format, with metadata, compressed in every way, of several frames; the nasty ones where they are."""
    grey, later = scene.convert("L"), [scene.rotate(180)]
    made = [encode(scene, format) for format in FORMATS]
    made += [encode(scene, format, exif=oriented(6)) for format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")]
    made += [encode(scene, "JPEG", progressive=True), encode(scene.convert("P"), "PNG", transparency=0)]
    made += [encode(scene, format, save_all=True, append_images=later) for format in ("PNG", "WEBP", "GIF", "TIFF")]
    made += [encode(scene, "TIFF", compression=way) for way in ("tiff_lzw", "jpeg", "packbits", "tiff_deflate")]
    made += [encode(scene, "MPO", save_all=True, append_images=later), encode(scene, "TGA", compression="tga_rle")]
    made += [encode(scene, "WEBP", lossless=True), encode(scene, "JPEG2000", irreversible=True, quality_layers=[20])]
    made += [encode(scene, "JPEG", restart_marker_rows=1), encode(scene.convert("CMYK"), "JPEG"), encode(grey, "TIFF")]
    made += [encode(scene, "ICO", bitmap_format="bmp"), encode(grey.convert("1"), "TIFF", compression="group4")]
    made += [file.read_bytes() for file in sorted(NASTY.glob("*")) if 0 < file.stat().st_size < 100_000]
    return made


def cut_or_flip(data: bytes, dice: random.Random) -> bytes:
    """Cut anywhere, zeros from anywhere on, or up to three bytes changed anywhere."""
    at, made = dice.randrange(len(data)), bytearray(data)
    match dice.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes(len(data) - at)
        case _:
            for _ in range(dice.choice((1, 1, 2, 3))):
                made[dice.randrange(len(made))] ^= dice.randrange(1, 256)
            return with_right_checksums(bytes(made)) if dice.random() < 0.5 else bytes(made)


@pytest.mark.timeout(60 + COUNT)
def test_what_pillow_alone_refuses_is_refused(seeds: list[bytes]) -> None:
    # Given whole pictures, cut and with bytes changed anywhere
    dice = random.Random(SEED)
    verdicts: Counter[tuple[str, str]] = Counter()
    with DecodePool(1, LIMITS) as ours, DecodePool(1, LIMITS, child=PLAIN) as plain:
        for _ in range(0, COUNT, 100):
            mutants = [cut_or_flip(dice.choice(seeds), dice) for _ in range(min(COUNT, 100))]
            pairs = [
                (data, *(pool.submit(Request(data=data, shape=Shape(8, 8))) for pool in (ours, plain)))
                for data in mutants
            ]
            for data, found, expected in pairs:
                # When plain Pillow cannot open and load one
                verdict = tuple(
                    "picture" if isinstance(one.result(), Picture) else "refused" for one in (expected, found)
                )
                verdicts[verdict] += 1  # type: ignore[index]
                # Then it is refused here, for a known reason
                assert verdict != ("refused", "picture"), f"{expected.result()} of {data[:32]!r}, {len(data)} bytes"
                if isinstance(reason := found.result(), BadImage):
                    assert reason.kind in get_args(Kind)
                    assert reason.message
                    assert "\n" not in reason.message
    print(dict(verdicts))
    assert verdicts["refused", "refused"] > COUNT // 5
    assert verdicts["picture", "picture"] > COUNT // 10


@pytest.mark.timeout(60 + COUNT)
def test_mutated_pictures_end_as_pictures_or_reasons(
    seeds: list[bytes], encode: Callable[..., bytes], cameras: dict[str, Callable[[bytes, bytes, int], bytes]]
) -> None:
    preview = encode(Image.new("RGB", (600, 400), "blue"), "JPEG")
    seeds += [camera(preview, preview, 6) for camera in cameras.values()]
    dice = random.Random(SEED)
    kinds: Counter[str] = Counter()
    with DecodePool(2, LIMITS) as pool:
        # When they are decoded after mutation
        for _ in range(0, COUNT, 100):
            mutants = [mutate(dice.choice(seeds), dice.choice(seeds), dice) for _ in range(min(COUNT, 100))]
            known = [pool.submit(Request(data=data)) for data in mutants]
            futures = [pool.submit(Request(data=data, shape=Shape(64, 64))) for data in mutants]
            for data, identity, future in zip(mutants, known, futures, strict=True):
                found = future.result()
                # Then each is a picture or has a reason, and its identity is the same without decoding
                assert isinstance(identity.result(), (Identity, BadImage))
                if isinstance(found, Picture):
                    assert identity.result().sha256 == found.sha256
                assert isinstance(found, (Picture, BadImage))
                kind = "picture" if isinstance(found, Picture) else found.kind
                kinds[kind] += 1
                if kind in ("crash", "timeout"):
                    print(f"{kind} after {len(data)} bytes that begin {data[:16]!r}: {found.message}")
        # And the pool still decodes
        assert isinstance(pool.submit(Request(data=seeds[0], shape=Shape(64, 64))).result(), Picture)
    print(dict(kinds))
    assert sum(kinds.values()) >= COUNT
    assert kinds["picture"] > COUNT // 20
    assert kinds["corrupt"] > COUNT // 20
