"""Mutated pictures: each ends as a picture or as a reason, and the pool outlives them all.

300 in a normal run, 10,000 with `BLIPQ_TEST_LONG=1` (`make fuzz`); `FUZZ_SEED=7` draws others.
"""

from __future__ import annotations

import os
import random
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from blipq.worker.engine.picture import BadImage, Identity, Limits, Picture, Shape
from blipq.worker.engine.pool import DecodePool, Request

COUNT = 10_000 if os.environ.get("BLIPQ_TEST_LONG") else 300
SEED = int(os.environ.get("FUZZ_SEED", "0"))
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA", "ICO")
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


@pytest.mark.timeout(60 + COUNT)
def test_mutated_pictures_end_as_pictures_or_reasons(
    scene: Image.Image, encode: Callable[..., bytes], oriented: Callable[[int], Image.Exif]
) -> None:
    # Given seeds of every format, with metadata, and the nasty ones where they are
    seeds = [encode(scene, format) for format in FORMATS]
    seeds += [encode(scene, format, exif=oriented(6)) for format in ("JPEG", "PNG", "WEBP", "TIFF")]
    seeds += [encode(scene, "JPEG", progressive=True), encode(scene.convert("P"), "PNG", transparency=0)]
    seeds += [encode(scene, format, save_all=True, append_images=[scene.rotate(180)]) for format in ("PNG", "WEBP")]
    seeds += [file.read_bytes() for file in sorted(NASTY.glob("*")) if 0 < file.stat().st_size < 100_000]
    dice = random.Random(SEED)
    kinds: Counter[str] = Counter()
    with DecodePool(2, Limits(10_000_000, 1_000_000, 600_000_000, 20)) as pool:
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
