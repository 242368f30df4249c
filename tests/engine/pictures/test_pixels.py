"""What the model is shown: upright, flat, 8-bit RGB, and bit for bit what Hugging Face would show it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blipq.worker.engine.picture import BadImage, Limits, Shape, decode, describe

Encode = Callable[..., bytes]
FULL = Shape(64, 96, draft=False)  # the drawn scene as it is
XMP = '<x:xmpmeta><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


def test_pixels_equal_hugging_face(photos: list[Path], limits: Limits) -> None:
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    theirs = BlipImageProcessorPil(do_rescale=False, do_normalize=False)
    for path in photos[::12]:
        data = path.read_bytes()
        expected = theirs(Image.open(io.BytesIO(data)), return_tensors="np")["pixel_values"][0]
        found = decode(data, Shape(384, 384), limits)
        assert np.array_equal(found.pixels.transpose(2, 0, 1), expected.astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_exif_orientation_is_applied(
    format: str, orientation: int, scene: Image.Image, encode: Encode, oriented: Callable[..., Image.Exif],
    limits: Limits,
) -> None:  # fmt: skip
    # Given a scene that a camera filed turned
    upright = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
    from blipq.worker.engine.rgb import turn

    filed = turn(scene, upright[orientation])
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    data = encode(filed, format, exif=oriented(orientation), **options)
    # When it is decoded, Then it is upright, and so is its size
    found = decode(data, FULL, limits)
    assert np.abs(found.pixels.astype(int) - np.asarray(scene)).mean() < (4 if format == "JPEG" else 0.001)
    assert (found.width, found.height) == scene.size
    known = describe(data, limits)
    assert (known.width, known.height, known.sha256) == (96, 64, found.sha256)


def test_xmp_orientation_is_applied_where_exif_says_nothing(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    turned = scene.transpose(Image.Transpose.ROTATE_90)
    found = decode(encode(turned, "WEBP", lossless=True, xmp=XMP.format(6).encode()), FULL, limits)
    assert np.array_equal(found.pixels, scene)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(200))])
def test_broken_exif_costs_nothing(exif: bytes, scene: Image.Image, encode: Encode, limits: Limits) -> None:
    plain = decode(encode(scene, "JPEG"), FULL, limits)
    assert np.array_equal(decode(encode(scene, "JPEG", exif=exif), FULL, limits).pixels, plain.pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_transparency_is_flattened_on_white(mode: str, encode: Encode, limits: Limits) -> None:
    # Given black that is clear on the left and solid on the right
    image = Image.new("RGBA", (96, 64), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (48, 0, 96, 64))
    if mode == "P":
        image = image.quantize(4)
        image.info.pop("transparency", None)
        data = encode(image, "PNG", transparency=image.getpixel((0, 0)))
    else:
        format = "TIFF" if mode == "PA" else "PNG"
        data = encode(image if mode == "RGBA" else image.convert("LA"), format)
    found = decode(data, FULL, limits).pixels
    assert (found[:, :40] == 255).all()
    assert (found[:, 56:] == 0).all()


@pytest.mark.parametrize(("colour", "key"), [("RGB", (10, 20, 30)), ("L", 7), ("1", 0)])
def test_colour_key_is_flattened_on_white(colour: str, key: object, encode: Encode, limits: Limits) -> None:
    image = Image.new(colour, (96, 64), key)
    assert (decode(encode(image, "PNG", transparency=key), FULL, limits).pixels == 255).all()


def test_deep_greys_are_scaled_not_clipped(encode: Encode, limits: Limits) -> None:
    ramp = np.tile(np.linspace(0, 1, 96), (64, 1))
    expected = np.rint(ramp * 255)
    deep = {
        "16 bits": encode(Image.fromarray((ramp * 65535).astype(np.uint16)), "PNG"),
        "12 of 16 bits": encode(Image.fromarray((ramp * 4095).astype(np.uint16)), "TIFF"),
        "32 bits, signed": encode(Image.fromarray((ramp * 2e6 - 1e6).astype(np.int32)), "TIFF"),
        "0 to 1": encode(Image.fromarray(ramp.astype(np.float32)), "TIFF"),
        "0 to 255": encode(Image.fromarray((ramp * 255).astype(np.float32)), "TIFF"),
        "any floats": encode(Image.fromarray((ramp * 9000 - 4000).astype(np.float32)), "TIFF"),
    }
    for name, data in deep.items():
        found = decode(data, FULL, limits)
        assert np.abs(found.pixels[..., 0] - expected).max() <= 1, name


def test_floats_that_are_no_numbers_are_survived(encode: Encode, limits: Limits) -> None:
    wild = np.full((64, 96), np.nan, np.float32)
    wild[:, 48:] = np.inf
    wild[0, 0] = 1
    assert decode(encode(Image.fromarray(wild), "TIFF"), FULL, limits).pixels.shape == (64, 96, 3)


@pytest.mark.parametrize(("mode", "format"), [("CMYK", "TIFF"), ("YCbCr", "TIFF"), ("LAB", "TIFF"), ("P", "GIF")])
def test_colours_survive_their_mode(mode: str, format: str, scene: Image.Image, encode: Encode, limits: Limits) -> None:
    from PIL import ImageCms

    if mode == "LAB":
        other = ImageCms.profileToProfile(
            scene, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    else:
        other = scene.quantize(256) if mode == "P" else scene.convert(mode)
    found = decode(encode(other, format), FULL, limits)
    assert np.abs(found.pixels.astype(int) - np.asarray(scene)).mean() < 12  # of 255: a palette loses most


def test_first_frame_and_first_page(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    others = [Image.new("RGB", scene.size, "red"), Image.new("RGB", scene.size, "blue")]
    for format, options in [("TIFF", {}), ("PNG", {}), ("WEBP", {"lossless": True})]:
        data = encode(scene, format, save_all=True, append_images=others, **options)
        assert np.array_equal(decode(data, FULL, limits).pixels, scene), format


def test_wrong_size_by_pixels_is_refused_before_it_is_decoded(encode: Encode, limits: Limits) -> None:
    # Given 12,000 x 12,000 pixels in 17 KB
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 12000, 12000, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(1501 * 12000))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    for found in (decode(bomb, FULL, limits), describe(bomb, limits)):
        assert isinstance(found, BadImage)
        assert found.kind == "too-many-pixels"


def test_limit_holds_for_the_picture_inside_an_icon(encode: Encode, limits: Limits) -> None:
    # Given an icon that says 16 x 16 and holds a PNG of 3,000 x 3,000
    inner = encode(Image.new("L", (3000, 3000)), "PNG")
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    small = Limits(1_000_000, limits.bytes, limits.memory, limits.seconds)
    assert decode(icon, FULL, small).kind == "too-many-pixels"


def test_texts_that_unfold_to_more_than_they_may_are_refused(encode: Encode, limits: Limits) -> None:
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Comment", "x" * 30_000_000, zip=True)
    found = decode(encode(Image.new("L", (8, 8)), "PNG", pnginfo=notes), FULL, limits)
    assert isinstance(found, BadImage)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM"])
def test_cut_files_are_refused(format: str, scene: Image.Image, encode: Encode, limits: Limits) -> None:
    data = encode(scene.resize((300, 200)), format)
    found = decode(data[: len(data) * 6 // 10], FULL, limits)
    assert isinstance(found, BadImage), "half a picture must not be captioned as if it were whole"
    assert found.kind == "corrupt"


@pytest.mark.parametrize("format", ["EPS", "SGI", "PCX", "DDS", "XBM"])
def test_formats_off_the_list_are_refused(format: str, scene: Image.Image, encode: Encode, limits: Limits) -> None:
    data = encode(scene.convert("1") if format == "XBM" else scene, format)
    assert decode(data, FULL, limits).kind == "unsupported"


def test_settings_of_pillow_are_as_before(scene: Image.Image, encode: Encode, limits: Limits) -> None:
    before = Image.MAX_IMAGE_PIXELS
    decode(encode(scene, "PNG"), FULL, limits)
    decode(b"no picture", FULL, limits)
    assert before == Image.MAX_IMAGE_PIXELS
