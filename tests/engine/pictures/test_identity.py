"""A picture is known by what it shows: notes about it change nothing, pixels and orientation do."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from blipq.worker.engine.identity import identify
from blipq.worker.engine.picture import Limits, Shape, decode

Encode = Callable[..., bytes]
Oriented = Callable[[int], Image.Exif]
LOSSLESS = {"JPEG": {}, "PNG": {}, "WEBP": {"lossless": True}}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:subject>%s</dc:subject></x:xmpmeta>'


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def riff(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


def with_riff(webp: bytes, *more: bytes) -> bytes:
    body = webp[12:] + b"".join(more)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("format", LOSSLESS)
def test_notes_change_nothing(format: str, scene: Image.Image, encode: Encode) -> None:
    # Given a picture, and the same saved with EXIF, XMP and a colour profile
    from PIL import ImageCms

    plain = encode(scene, format, **LOSSLESS[format])
    exif = Image.Exif()
    exif[0x010E] = "A description"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, object] = {"exif": exif, "icc_profile": profile}
    if format == "PNG":
        notes = PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", (XMP % b"dog").decode())
        notes.add_text("Comment", "hello", zip=True)
        options["pnginfo"] = notes
    else:
        options["xmp"] = XMP % b"dog"
    tagged = encode(scene, format, **options, **LOSSLESS[format])
    # Then they are one picture, which is not its file's hash
    assert tagged != plain
    assert identify(tagged) == identify(plain)
    assert identify(plain) != hashlib.sha256(plain).digest()


@pytest.mark.parametrize("format", LOSSLESS)
def test_orientation_and_pixels_change_it(format: str, scene: Image.Image, encode: Encode, oriented: Oriented) -> None:
    other = scene.copy()
    other.putpixel((50, 50), (0, 255, 0))
    plain = identify(encode(scene, format, **LOSSLESS[format]))
    assert identify(encode(scene, format, exif=oriented(1), **LOSSLESS[format])) == plain
    turned = {identify(encode(scene, format, exif=oriented(turn), **LOSSLESS[format])) for turn in range(2, 9)}
    assert len(turned | {plain, identify(encode(other, format, **LOSSLESS[format]))}) == 9


def test_raw_edits_of_jpeg(scene: Image.Image, encode: Encode) -> None:
    jpeg = encode(scene, "JPEG", progressive=True)
    known = identify(jpeg)
    comment = segment(0xFE, b"a comment \xff\xd9 that looks like the end")
    photoshop = segment(0xED, b"Photoshop 3.0\0" + bytes(100))
    assert identify(jpeg[:2] + comment + photoshop + jpeg[2:]) == known  # before all else
    assert identify(jpeg[:-2] + comment + jpeg[-2:]) == known  # before the end
    assert identify(jpeg + b"MotionPhoto_Data" + bytes(1000)) == known  # behind it
    assert identify(jpeg[:2] + jpeg[2 + 18 :]) == known  # without JFIF's segment: the components' ids say the same
    second_scan = jpeg.rfind(b"\xff\xda")
    assert identify(jpeg[:second_scan] + comment + jpeg[second_scan:]) == known  # between scans


def test_colour_transform_of_jpeg_counts(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    # Given one coded picture that Adobe's segment declares RGB, and one that it declares YCbCr
    jpeg = encode(scene, "JPEG")
    bare = jpeg[:2] + jpeg[2 + 18 :]
    adobe = [bare[:2] + segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])) + bare[2:] for transform in (0, 1)]
    shown = [decode(data, Shape(64, 96), limits).pixels for data in adobe]
    # Then they look different, and are told apart; YCbCr is what it was without
    assert not np.array_equal(*shown)
    assert identify(adobe[0]) != identify(adobe[1]) == identify(jpeg)


def test_raw_edits_of_png(scene: Image.Image, encode: Encode) -> None:
    png = encode(scene, "PNG")
    known = identify(png)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    for at in (33, len(png) - 12):  # behind IHDR, before IEND
        assert identify(png[:at] + chunk(b"tEXt", b"Title\0x") + chunk(b"gAMA", b"\0\0\xb1\x8f") + png[at:]) == known
        assert identify(png[:at] + turned + png[at:]) != known
        assert identify(png[:at] + chunk(b"tRNS", bytes(6)) + png[at:]) != known
    assert identify(png + b"garbage") == known


def test_raw_edits_of_webp(scene: Image.Image, encode: Encode) -> None:
    # Given a WebP of one chunk, and what exiftool makes of it: an extended header, then the note behind
    for image, alpha in ((scene, 0), (scene.convert("RGBA"), 0x10)):
        image.putpixel((0, 0), (*image.getpixel((0, 0))[:3], 9)[: len(image.mode)])
        webp = encode(image, "WEBP", lossless=True, exact=True)
        assert webp[12:16] == b"VP8L"
        size = (95).to_bytes(3, "little") + (63).to_bytes(3, "little")
        header = riff(b"VP8X", bytes([0x04 | alpha, 0, 0, 0]) + size)
        edited = with_riff(webp[:12] + header + webp[12:], riff(b"XMP ", XMP % b"dog"))
        assert identify(edited) == identify(webp)
        turned = with_riff(edited, riff(b"XMP ", b'<tiff:Orientation="6"'))
        assert identify(turned) != identify(webp)


def test_a_preview_behind_a_phone_s_jpeg_changes_nothing(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    plain = encode(scene, "JPEG")
    mpo = encode(scene, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert len(mpo) > len(plain)
    assert identify(mpo) == identify(plain)
    for draft in (Shape(64, 96), Shape(8, 8)):
        found = decode(mpo, draft, limits)
        assert np.array_equal(found.pixels, decode(plain, draft, limits).pixels)
        assert found.format == "JPEG"


def test_animations_count_as_all_their_frames(scene: Image.Image, encode: Encode) -> None:
    for format in ("PNG", "WEBP"):
        one, two = (
            encode(scene, format, save_all=True, append_images=[Image.new("RGB", scene.size, colour)])
            for colour in ("red", "blue")
        )
        assert identify(one) != identify(two)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "AVIF"])
def test_other_formats_are_their_bytes(format: str, scene: Image.Image, encode: Encode) -> None:
    data = encode(scene, format)
    assert identify(data) == hashlib.sha256(data).digest()


@pytest.mark.parametrize("format", LOSSLESS)
def test_broken_structure_is_its_bytes(format: str, scene: Image.Image, encode: Encode) -> None:
    data = encode(scene, format, **LOSSLESS[format])
    for cut in (13, 40, len(data) // 2, len(data) - 3):
        assert identify(data[:cut]) == hashlib.sha256(data[:cut]).digest()


def test_decoding_agrees_with_identity(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    for format in ("JPEG", "PNG", "WEBP", "GIF", "TIFF"):
        data = encode(scene, format)
        assert decode(data, Shape(8, 8), limits).sha256 == identify(data)


HEADS = [b"", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xda\0\x02", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8X"]


@settings(deadline=None)
@given(st.sampled_from(HEADS), st.binary(max_size=200))
def test_any_bytes_have_an_identity(head: bytes, rest: bytes) -> None:
    assert len(identify(head + rest)) == 32


@settings(deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_notes_have_an_orientation(exif: bytes, xmp: bytes) -> None:
    from blipq.worker.engine.rgb import metadata_orientation

    assert metadata_orientation(b"Exif\0\0" + exif, xmp) in range(1, 9)
    assert metadata_orientation(b"Exif\0\0II*\0\x08\0\0\0" + exif, b'tiff:Orientation="' + xmp) in range(1, 9)
