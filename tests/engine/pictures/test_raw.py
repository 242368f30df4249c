"""A camera RAW is shown as its large preview, never as its thumbnail; a plain TIFF stays one."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from blipq.worker.engine.identity import identify
from blipq.worker.engine.picture import BadImage, Identity, Limits, Picture, Shape, decode, describe
from blipq.worker.engine.pool import DecodePool, Request
from blipq.worker.engine.raw import RAW_FORMATS, raw_format
from blipq.worker.engine.rgb import turn
from blipq.worker.engine.thumbnail import thumbnail

Encode = Callable[..., bytes]
Cameras = dict[str, Callable[[bytes, bytes, int], bytes]]
SHAPE = Shape(96, 144)
UPRIGHT = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}  # how a camera that is held so files what is upright


@pytest.fixture(scope="module")
def large(scene: Image.Image) -> Image.Image:
    return scene.resize((1536, 1024), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def small(scene: Image.Image, encode: Encode) -> bytes:
    """The preview beside the large one: another picture, to be told from it."""
    return encode(Image.new("RGB", (600, 400), "blue"), "JPEG")


def test_a_raw_is_shown_as_its_large_preview(
    cameras: Cameras, large: Image.Image, small: bytes, encode: Encode, limits: Limits
) -> None:
    jpeg = encode(large, "JPEG", quality=90)
    plain = decode(jpeg, SHAPE, limits)
    for name, camera in cameras.items():
        data = camera(jpeg, small, 1)
        found = decode(data, SHAPE, limits)
        assert isinstance(found, Picture), (name, found)
        assert np.array_equal(found.pixels, plain.pixels), name
        assert (found.width, found.height, found.format) == (1536, 1024, name.split(",")[0])
        assert found.format in RAW_FORMATS
        # The file is known by all its bytes, with and without decoding
        assert found.sha256 == hashlib.sha256(data).digest() == identify(data)
        assert describe(data, limits) == Identity(found.sha256, 1536, 1024, found.format)


def test_a_raw_comes_out_of_a_decode_process_by_its_name(
    cameras: Cameras, large: Image.Image, small: bytes, encode: Encode, limits: Limits
) -> None:
    jpeg = encode(large, "JPEG")
    with DecodePool(1, limits) as pool:
        for name, camera in cameras.items():
            data = camera(jpeg, small, 6)
            found, known = (pool.submit(Request(data=data, shape=shape)).result() for shape in (SHAPE, None))
            wanted = {"RAF": (1536, 1024)}.get(name, (1024, 1536))
            assert (found.width, found.height, found.format) == (*wanted, name.split(",")[0])
            assert known == Identity(found.sha256, found.width, found.height, found.format)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_preview_is_turned_as_it_says_itself_or_else_as_the_raw_says(
    orientation: int, cameras: Cameras, large: Image.Image, small: bytes, encode: Encode,
    oriented: Callable[..., Image.Exif], limits: Limits,
) -> None:  # fmt: skip
    filed = turn(large, UPRIGHT[orientation])
    upright = np.asarray(large.resize((144, 96), Image.Resampling.BICUBIC)).astype(int)
    bare, telling = encode(filed, "JPEG"), encode(filed, "JPEG", exif=oriented(orientation))
    for name, camera in cameras.items():
        for data in (camera(bare, small, orientation), camera(telling, small, 1 + orientation % 8)):
            if name == "RAF" and data[148:].startswith(bare):
                continue  # has no orientation but its JPEG's
            found = decode(data, SHAPE, limits)
            assert (found.width, found.height) == (1536, 1024), name
            assert np.abs(found.pixels - upright).mean() < 6, name
            known = describe(data, limits)
            assert (known.width, known.height) == (1536, 1024), name
    made = thumbnail(
        cameras["NEF"](bare, small, orientation), identify(cameras["NEF"](bare, small, orientation)), 300, limits
    )
    assert isinstance(made, bytes)


def test_the_largest_whole_preview_wins(
    cameras: Cameras, large: Image.Image, small: bytes, encode: Encode, limits: Limits
) -> None:
    jpeg = encode(large, "JPEG")
    cut = jpeg[: len(jpeg) // 2]
    for name in ("NEF", "ARW", "CR2", "DNG", "PEF", "SRW", "CR3"):
        for first, second in ((jpeg, small), (small, jpeg)):
            assert decode(cameras[name](first, second, 1), SHAPE, limits).width == 1536, name
        found = decode(cameras[name](cut, small, 1), SHAPE, limits)
        assert (found.width, found.height) == (600, 400), name


def test_a_raw_whose_previews_are_cut_is_a_broken_one(
    cameras: Cameras, large: Image.Image, encode: Encode, limits: Limits
) -> None:
    jpeg, tiny = encode(large, "JPEG"), encode(large.resize((160, 107)), "JPEG")
    for name, camera in cameras.items():
        for preview in (jpeg[: len(jpeg) // 2], jpeg[:-2] + bytes(2), jpeg[:100]):
            found = decode(camera(preview, tiny, 1), SHAPE, limits)
            assert isinstance(found, BadImage), name
            assert found.kind == "corrupt", (name, found)
            assert found.message.startswith(f"a broken {name.split(',')[0]} file: ")


def test_a_damaged_preview_is_refused_though_its_ends_are_whole(
    cameras: Cameras, large: Image.Image, small: bytes, encode: Encode, limits: Limits
) -> None:
    # Given previews with a hole, of broken structure inside and of too many pixels
    jpeg = encode(large, "JPEG")
    middle = len(jpeg) // 2
    hole = jpeg[:middle] + bytes(4096) + jpeg[middle + 4096 :]
    few = Limits(1_000_000, limits.bytes, limits.memory, limits.seconds)
    for name, camera in cameras.items():
        found = decode(camera(hole, small, 1), SHAPE, limits)
        assert isinstance(found, BadImage), name
        assert found.message == f"a broken {name.split(',')[0]} file: a part of its data is zeros"
        assert decode(camera(jpeg, small, 1), SHAPE, few).kind == "too-many-pixels"


def test_a_raw_without_a_preview_of_more_than_512_pixels_is_refused_plainly(
    cameras: Cameras, large: Image.Image, encode: Encode, limits: Limits
) -> None:
    most, least = (encode(large.resize(size), "JPEG") for size in ((512, 341), (160, 107)))
    enough = encode(large.resize((513, 342)), "JPEG")
    for name, camera in cameras.items():
        data = camera(most, least, 1)
        said = f"a camera RAW ({name.split(',')[0]}) without a preview larger than 512 pixels: develop it to JPEG first"
        small = thumbnail(data, identify(data), 300, limits)
        for found in (decode(data, SHAPE, limits), describe(data, limits), small):
            assert found == BadImage("unsupported", said), name
        assert isinstance(decode(camera(enough, least, 1), SHAPE, limits), Picture), name


def test_a_raw_that_lost_its_sensor_s_data_is_not_its_thumbnail(
    cameras: Cameras, large: Image.Image, small: bytes, encode: Encode, limits: Limits
) -> None:
    # Given RAWs cut anywhere
    jpeg = encode(large, "JPEG")
    for name, camera in cameras.items():
        data = camera(jpeg, small, 1)
        for part in range(1, 20):
            found = decode(data[: len(data) * part // 20], SHAPE, limits)
            assert isinstance(found, BadImage) or found.width > 512, (name, part)


def test_a_plain_tiff_stays_one(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    # Given TIFFs with a camera's name in them, of several pages, of a pyramid, marked as a DNG
    camera = TiffImagePlugin.ImageFileDirectory_v2()
    camera[271], camera[272] = "NIKON CORPORATION", "NIKON D850"
    marked = TiffImagePlugin.ImageFileDirectory_v2()
    marked[50706] = b"\x01\x04\0\0"
    marked.tagtype[50706] = 1
    files = [encode(scene, "TIFF", tiffinfo=info) for info in (camera, marked)]
    files += [encode(scene, "TIFF", tiffinfo=camera, save_all=True, append_images=[scene.resize((48, 32))])]
    files += [encode(scene, "TIFF", tiffinfo=camera, compression=way) for way in ("tiff_lzw", "jpeg")]
    for data in files:
        assert raw_format(data) is None
        found = decode(data, Shape(64, 96), limits)
        assert (found.width, found.height, found.format) == (96, 64, "TIFF")
    for data in (encode(scene, "JPEG"), encode(scene, "PNG"), b"", b"II", b"II*\0", b"MM\0*\xff\xff\xff\xff", b"IIRO"):
        assert raw_format(data) in (None, "ORF")


def chain(count: int, loop: bool) -> bytes:
    """A DNG of `count` directories, each a sub-directory of the one before; the last leads back to the first."""
    out = bytearray(b"II*\0\x08\0\0\0")
    for number in range(count):
        at = len(out)
        deeper = at + 2 + 36 + 4 if number < count - 1 else 8 if loop else 0
        out += struct.pack(
            "<HHHIIHHIIHHIII", 3, 254, 4, 1, 1, 330, 4, 1, deeper, 50706, 1, 4, 0x0401, at if loop else 0
        )
    return bytes(out)


def test_hostile_directories_are_refused_at_once(cameras: Cameras, small: bytes, limits: Limits) -> None:
    many = struct.pack("<H", 65535) + struct.pack("<HHII", 330, 4, 0xFFFFFFFF, 8) * 65535
    subs = struct.pack("<HHHII", 1, 330, 4, 100_000, 26) + bytes(4) + struct.pack("<I", 8) * 100_000
    hostile = {
        "a loop": chain(3, loop=True),
        "itself": chain(1, loop=True),
        "1000 deep": chain(1000, loop=False),
        "1000 deep, a loop": chain(1000, loop=True),
        "an offset beyond the end": b"IIRO\xff\xff\xff\xff",
        "a directory that says 65,535 tags": b"IIRO\x08\0\0\0\xff\xff",
        "65,535 tags of four billion values": b"IIRO\x08\0\0\0" + many,
        "100,000 sub-directories": b"IIRO\x08\0\0\0" + subs,
        "a RAF beyond its end": b"FUJIFILMCCD-RAW ".ljust(84, b"0") + b"\xff" * 8,
        "a RAF's head": b"FUJIFILMCCD-RAW ",
        "boxes in boxes": b"\0\0\0\x10ftypcrx \0\0\0\0" + b"\0\0\0\0moov" * 100_000,
        "a box of four exabytes": b"\0\0\0\x10ftypcrx \0\0\0\0" + b"\0\0\0\x01moov\x7f" + b"\xff" * 7,
        "empty boxes": b"\0\0\0\x10ftypcrx \0\0\0\0" + b"\0\0\0\x08free" * 100_000,
    }
    nef = bytearray(cameras["NEF"](small, small, 1))
    for at in range(8, len(nef) - 4, 997):  # offsets and counts of all sizes
        hostile[f"0xff at {at}"] = bytes(nef[:at] + b"\xff" * 4 + nef[at + 4 :])
    for name, data in hostile.items():
        began = time.process_time()
        found = decode(data, SHAPE, limits)
        assert time.process_time() - began < 2, name
        if not name.startswith("0xff"):
            assert isinstance(found, BadImage), name
            assert found.kind in ("corrupt", "unsupported"), name
            assert "\n" not in found.message
