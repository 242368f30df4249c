"""Half a picture is no picture, whichever step of decoding failed; broken notes about a whole one cost nothing."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from blipq.worker.engine.identity import identify
from blipq.worker.engine.picture import BadImage, Limits, Picture, Shape, decode, describe
from blipq.worker.engine.pool import DecodePool
from blipq.worker.engine.thumbnail import thumbnail

Encode = Callable[..., bytes]
FULL = Shape(64, 96, draft=False)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.fixture(scope="module")
def large() -> Image.Image:
    """640 x 480 pixels of noise: 190 kB as a JPEG."""
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8))


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))


def half_pngs(noise: Image.Image) -> dict[str, bytes]:
    """PNGs whose rows end halfway, each in another manner."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(noise))
    packed = zlib.compress(rows)
    first, rest = packed[: len(packed) // 2], b"\xff" * 64 + packed[len(packed) // 2 + 64 :]
    signature, end = b"\x89PNG\r\n\x1a\n", chunk(b"IEND", b"")
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 128, 128, 8, 2, 0, 0, 0))
    frames = chunk(b"acTL", struct.pack(">II", 2, 0))
    control = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 128, 128, 0, 0, 1, 10, 0, 0))
    second = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 128, 128, 0, 0, 1, 10, 0, 0))
    later = second + chunk(b"fdAT", struct.pack(">I", 2) + packed)
    exif = chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0")
    bodies = {
        "a chunk lies about its length": chunk(b"IDAT", first) + struct.pack(">I", 99_999) + b"IDAT" + rest,
        "damage in the second chunk": chunk(b"IDAT", first) + chunk(b"IDAT", rest) + end,
        "damage, then no end": chunk(b"IDAT", first) + chunk(b"IDAT", rest),
        "junk for a chunk": chunk(b"IDAT", first) + b"\0\0\0\x08JUNK",
        "nothing more": chunk(b"IDAT", first) + end,
        "damage, EXIF behind": chunk(b"IDAT", first) + chunk(b"IDAT", rest) + exif,
        "damage, EXIF before": exif + chunk(b"IDAT", first) + chunk(b"IDAT", rest),
    }
    made = {name: signature + head + body for name, body in bodies.items()}
    for name in ("damage in the second chunk", "damage, then no end"):
        made[f"animated: {name}"] = signature + head + frames + control + bodies[name].removesuffix(end) + later
    return made


def test_half_a_png_is_refused_at_every_door(noise: Image.Image, limits: Limits) -> None:
    for name, data in half_pngs(noise).items():
        for shape in (FULL, Shape(8, 8)):
            found = decode(data, shape, limits)
            assert isinstance(found, BadImage), name
            assert found.kind == "corrupt", name
        small = thumbnail(data, identify(data), 64, limits)
        assert isinstance(small, BadImage), name
        assert isinstance(thumbnail(icon(data), identify(icon(data)), 64, limits), BadImage), name
        assert isinstance(decode(icon(data), FULL, limits), BadImage), name


def test_half_a_png_is_a_bad_pair_in_training(noise: Image.Image, limits: Limits) -> None:
    from blipq.worker.engine.training.pictures import decoder

    with DecodePool(1, limits) as pool:
        decode_for_training = decoder(pool, (64, 64), Image.Resampling.BICUBIC.value)
        for data in half_pngs(noise).values():
            with pytest.raises(ValueError, match=r"^corrupt: a broken PNG file: "):
                decode_for_training(data)


def icon(png: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 128, 128, 0, 0, 1, 32, len(png), 22) + png


def decoders_that_fail_late(noise: Image.Image, encode: Encode) -> dict[str, bytes]:
    """Files whose decoder notices the damage with half of the pixels in place."""
    made = {}
    ways = {
        "TIFF, LZW": ("TIFF", {"compression": "tiff_lzw"}),
        "TIFF, deflate": ("TIFF", {"compression": "tiff_deflate"}),
        "TIFF, JPEG": ("TIFF", {"compression": "jpeg"}),
        "TIFF, plain": ("TIFF", {}),
        "TIFF of two pages": ("TIFF", {"save_all": True, "append_images": [noise]}),
        "JPEG": ("JPEG", {}),
        "JPEG, progressive": ("JPEG", {"progressive": True}),
        "MPO": ("MPO", {}),
        "GIF": ("GIF", {}),
        "BMP": ("BMP", {}),
        "PPM": ("PPM", {}),
        "TGA, run lengths": ("TGA", {"compression": "tga_rle"}),
        "ICO": ("ICO", {"sizes": [(128, 128)]}),
        "ICO of bitmaps": ("ICO", {"sizes": [(128, 128)], "bitmap_format": "bmp"}),
        "WebP": ("WEBP", {}),
        "WebP, lossless": ("WEBP", {"lossless": True}),
        "AVIF": ("AVIF", {}),
        "JPEG 2000": ("JPEG2000", {}),
    }
    for name, (format, options) in ways.items():
        whole = encode(noise, format, **options)
        made[name] = whole[: len(whole) * 4 // 10]
    return made


def test_whatever_is_cut_is_refused_in_any_format(noise: Image.Image, encode: Encode, limits: Limits) -> None:
    for name, data in decoders_that_fail_late(noise, encode).items():
        for found in (decode(data, FULL, limits), decode(data, Shape(16, 16), limits)):
            assert isinstance(found, BadImage), name
            assert found.kind == "corrupt", (name, found)
        assert isinstance(thumbnail(data, identify(data), 64, limits), BadImage), name


def test_what_is_cut_is_refused_though_other_code_asked_pillow_for_leniency(
    noise: Image.Image, encode: Encode, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for name, data in decoders_that_fail_late(noise, encode).items():
        assert isinstance(decode(data, FULL, limits), BadImage), name
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    "exif", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", bytes(range(200))]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_notes_about_a_whole_picture_cost_nothing(
    format: str, exif: bytes, scene: Image.Image, encode: Encode, limits: Limits
) -> None:
    # Given a picture with broken EXIF, XMP and ICC profile
    lossless = {"WEBP": {"lossless": True}}.get(format, {})
    notes = {"exif": b"Exif\0\0" + exif if format != "PNG" else exif, "icc_profile": b"no profile" * 9}
    if format != "PNG":
        notes["xmp"] = b'<x:xmpmeta \xff tiff:Orientation="99"'
    data = encode(scene, format, **lossless, **notes)
    plain = encode(scene, format, **lossless)
    # Then it is captioned as if they were not there, also where the file ends early behind the pixels
    for whole in (data, data[:-12] if format == "PNG" else data):
        found = decode(whole, FULL, limits)
        assert isinstance(found, Picture), found
        assert np.array_equal(found.pixels, decode(plain, FULL, limits).pixels)
        known = describe(whole, limits)
        assert (known.width, known.height) == (found.width, found.height) == scene.size


def test_a_png_without_its_end_is_turned_as_its_notes_say(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    # Given a PNG that lost its last chunk, whose pixels are whole, with a note before or behind them
    turned = scene.transpose(Image.Transpose.ROTATE_90)
    notes = PngInfo()
    notes.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    png = encode(turned, "PNG")[:-12]
    exif = chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0")
    for data in (encode(turned, "PNG", pnginfo=notes)[:-12], png + exif, png[:33] + exif + png[33:]):
        found = decode(data, FULL, limits)
        assert np.array_equal(found.pixels, scene)
        assert (found.width, found.height) == scene.size


@pytest.mark.parametrize("optimize", [False, True])
def test_a_jpeg_filled_up_with_zeros_is_refused(
    optimize: bool, large: Image.Image, encode: Encode, limits: Limits
) -> None:
    # Given a copy whose file has its size, and whose second half was never written: libjpeg decodes it
    jpeg = encode(large, "JPEG", optimize=optimize)
    data = jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2)
    Image.open(io.BytesIO(data)).load()
    for shape in (FULL, Shape(8, 8)):
        found = decode(data, shape, limits)
        assert isinstance(found, BadImage)
        assert "zeros" in found.message


def test_a_jpeg_with_a_hole_of_zeros_is_refused(large: Image.Image, encode: Encode, limits: Limits) -> None:
    jpeg = encode(large, "JPEG")
    data = jpeg[:20_000] + bytes(8192) + jpeg[28_192:]
    Image.open(io.BytesIO(data)).load()
    assert decode(data, FULL, limits).message == "a broken JPEG file: a part of its data is zeros"


def test_a_jpeg_that_was_cut_and_closed_is_refused_where_it_shows(
    large: Image.Image, encode: Encode, limits: Limits
) -> None:
    # Given files cut anywhere and ended with an end marker: libjpeg fills in grey
    counted, bare = encode(large, "JPEG", restart_marker_rows=1), encode(large, "JPEG")
    for data in (counted[: len(counted) // 2], counted[: len(counted) * 9 // 10], bare[:1500]):
        Image.open(io.BytesIO(data + b"\xff\xd9")).load()
        assert decode(data + b"\xff\xd9", FULL, limits).message == "a broken JPEG file: its data end early"


def test_a_png_whose_pixels_fail_their_checksum_is_refused(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    # Given a copy that was never written to its end, so that zeros unpack to the rest of the rows
    smooth = scene.resize((300, 200), Image.Resampling.BICUBIC)
    png = encode(smooth, "PNG")
    unwritten = png[:400] + bytes(len(png) - 400)
    flipped = bytearray(png)
    flipped[-40] ^= 1
    for data in (unwritten, bytes(flipped)):
        found = decode(data, FULL, limits)
        assert isinstance(found, BadImage)
    assert isinstance(decode(png, FULL, limits), Picture)
    wrong = png[:-16] + b"\0\0\0\0" + png[-12:]
    Image.open(io.BytesIO(wrong)).load()
    assert decode(wrong, FULL, limits).message == "a broken PNG file: a checksum of its pixels is wrong"


def test_heif_and_avif_filled_up_with_zeros_are_refused(encode: Encode, nasty: Path, limits: Limits) -> None:
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))
    whole = {"AVIF": encode(large, "AVIF", quality=90), "HEIF": (nasty / "files/pillow__hopper.heif").read_bytes()}
    for name, data in whole.items():
        assert isinstance(decode(data, FULL, limits), Picture)
        assert isinstance(decode(data + bytes(5000), FULL, limits), Picture)  # padding behind the end
        at = len(data) - 1500
        Image.open(io.BytesIO(data[:at] + bytes(1500))).load()
        said = f"a broken {name} file: its end is missing, filled with zeros"
        assert decode(data[:at] + bytes(1500), FULL, limits) == BadImage("corrupt", said)


def test_plain_pictures_of_any_format_are_whole(encode: Encode, limits: Limits) -> None:
    # Given pictures that compress to little more than zeros
    for colour in ("black", "white", (128, 128, 128)):
        plain = Image.new("RGB", (1000, 750), colour)
        for format, options in (
            ("AVIF", {"speed": 10}),
            ("WEBP", {"method": 2}),
            ("WEBP", {"lossless": True, "method": 0}),
            ("PNG", {}),
            ("GIF", {}),
            ("TIFF", {}),
            ("JPEG2000", {}),
        ):
            assert isinstance(decode(encode(plain, format, **options), FULL, limits), Picture), (format, colour)


def test_unusual_jpegs_that_are_whole_stay_pictures(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    flat, dice = Image.new("RGB", (1000, 999), "white"), random.Random(0)
    whole = [
        encode(image, "JPEG", **options)
        for image in (flat, scene, flat.convert("L"), scene.convert("L"), flat.convert("CMYK"), scene.resize((7, 5)))
        for options in (
            {},
            {"optimize": True},
            {"progressive": True},
            {"restart_marker_blocks": dice.randrange(1, 9)},
            {"restart_marker_rows": 1, "subsampling": "4:2:2"},
            {"restart_marker_rows": 2, "subsampling": "4:1:1", "optimize": True},
            {"quality": 1, "optimize": True},
        )
    ]
    for data in whole:
        assert isinstance(decode(data, FULL, limits), Picture)
        assert isinstance(decode(data + bytes(5000), FULL, limits), Picture)  # padding behind the end
        assert isinstance(decode(data, Shape(8, 8), limits), Picture)
