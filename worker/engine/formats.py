"""Which formats are read, how a file is opened, and what is said of one that cannot be."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import pi_heif
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from blipq.worker.engine.raw import raw_format
from blipq.worker.engine.refused import Refused

if TYPE_CHECKING:
    from blipq.worker.engine.picture import Kind

# The allow-list, in the order tried (MPO, phones' JPEG with a preview behind it, comes with JPEG). Pillow reads 30 more
# that photos do not come in, some of them dangerous: EPS runs Ghostscript, one BLP of 284 bytes took 654 MB. TGA has no
# magic number, so it comes last.
_PLUGINS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
    AvifImagePlugin.AvifImageFile,
    pi_heif.HeifImageFile,
    Jpeg2KImagePlugin.Jpeg2KImageFile,
    PpmImagePlugin.PpmImageFile,
    IcoImagePlugin.IcoImageFile,
    PsdImagePlugin.PsdImageFile,
    TgaImagePlugin.TgaImageFile,
)
FORMATS = tuple(str(plugin.format) for plugin in _PLUGINS)

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "icon"),
)
_BRANDS = {b"avi": "AVIF", b"hei": "HEIF", b"hev": "HEIF", b"mif": "HEIF", b"msf": "HEIF"}  # ISO media files
_NO_PICTURE = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML file or SVG drawing"),
    (b"<!DOCTYPE html", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a Git LFS pointer instead of its picture: run `git lfs pull`"),
    (b"BLP", "a BLP texture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM film"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
)

pi_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a decode process has one core; dav1d would take them all


@contextmanager
def strict(pixels: int) -> Iterator[None]:
    """Have Pillow raise, not warn, over `pixels` (frames and embedded pictures too), and keep quiet about metadata.

    What is cut raises too, whatever other code in the process has set for itself.
    """
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = pixels, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before


def open_picture(data: bytes, pixels: int) -> ImageFile.ImageFile:
    """Read a picture's header, nothing else. Raises what `failure_of` can tell the kind of."""
    if not data:
        raise Refused("corrupt", "the file is empty")
    picture = Image.open(BytesIO(data), formats=FORMATS)
    width, height = picture.size
    if width * height > pixels:
        raise Refused("too-many-pixels", f"{width} x {height} pixels, and the limit is {pixels / 1e6:g} million")
    return picture


def failure_of(error: Exception, data: bytes) -> tuple[Kind, str]:
    """What kind of trouble an exception of a decoder means, and one plain line about it."""
    if isinstance(error, Refused):
        return error.kind, str(error)
    said = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")[:200]
    if isinstance(error, MemoryError) or "memory" in said.lower():
        return "memory", "takes more memory to decode than the limit allows"
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        pixels = re.search(r"\d+", said)
        return "too-many-pixels", f"{int(pixels[0]) / 1e6:.4g} million pixels, more than the limit" if pixels else said
    name = raw_format(data) or _format_name(data)
    if isinstance(error, UnidentifiedImageError):
        if name:
            return "corrupt", f"a {name} file with a broken header"
        start = data.lstrip()[:64]
        found = next((what for magic, what in _NO_PICTURE if start.startswith(magic)), None)
        return "unsupported", found or "not a picture, or in a format that is not read"
    return "corrupt", f"a broken {name or 'picture'} file: {said or 'it cannot be decoded'}"


def _format_name(data: bytes) -> str | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(
            data[8:12], "HEIF" if data[8:10] in (b"he", b"mi", b"ms") else None
        )
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)
