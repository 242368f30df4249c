"""Pictures: the bytes of one file in, its upright RGB pixels at the model's size out, or the reason why not.

No torch is imported here: decode processes import this file, and they start in 0.2 s and stay under 60 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from blipq.worker.engine.formats import failure_of, strict
from blipq.worker.engine.opened import Opened, open_file, upright_size
from blipq.worker.engine.rgb import to_rgb, turn

Kind = Literal[
    "missing",  # the path leads nowhere
    "permission",  # the file may not be read
    "io",  # the storage failed or did not answer
    "link",  # a symbolic link where a file was
    "special",  # a folder, device, pipe or socket
    "changed",  # written to while it was read
    "too-big",  # more bytes than the limit
    "too-many-pixels",  # more pixels than the limit
    "unsupported",  # no picture, or a format off the allow-list
    "corrupt",  # a known format, broken or cut short
    "timeout",  # took longer to decode than the limit
    "memory",  # took more memory to decode than the limit
    "crash",  # the decoder crashed, twice
]
"""Why a picture has no caption: a closed set, stored as `failure.kind`."""

# JPEGs are decoded at 1/2, 1/4 or 1/8 of their size while that leaves this many times the wanted one. Measured against
# full decoding, mean of 255: 12 MP photos enlarged from 384 pixels 0.2, with sensor noise 0.3 to 0.4; the sharpest case
# (a photo of natural detail down to the pixel, 1/4) 0.6 to 0.9, where JPEG's own error at quality 90 is 2 to 3.
DRAFT_RATIO = 1.9


@dataclass(frozen=True)
class Limits:
    """What one picture may take: `pixels`, `bytes` of its file, bytes of `memory` and `seconds` to decode."""

    pixels: int
    bytes: int
    memory: int
    seconds: float


@dataclass(frozen=True)
class Shape:
    """What a model wants: (height, width), Pillow's `resample` filter, and whether JPEG draft decoding may be used."""

    height: int
    width: int
    resample: int = Image.Resampling.BICUBIC.value
    draft: bool = True


@dataclass(frozen=True)
class Identity:
    """A picture's content (32 bytes, see `identify`), its upright size in pixels and its format."""

    sha256: bytes
    width: int
    height: int
    format: str


@dataclass(frozen=True, eq=False)
class Picture:
    """`Identity`, and `pixels`: uint8 RGB of (height, width, 3) of the `Shape` asked for; width and height as filed."""

    sha256: bytes
    width: int
    height: int
    format: str
    pixels: np.ndarray


@dataclass(frozen=True)
class BadImage:
    """A picture that gets no caption: what kind of trouble, and one plain line that names it."""

    kind: Kind
    message: str


def decode(data: bytes, shape: Shape, limits: Limits) -> Picture | BadImage:
    """Decode the bytes of a picture's file; whatever they are, no exception.

    The pixels are those of Hugging Face's `BlipImageProcessorPil` after its resize, bit for bit, for opaque 8-bit
    pictures that draft decoding does not touch. Before: turned upright (EXIF, else XMP), flattened on white, 16 and 32
    bits scaled to 8, first frame of an animation, first page of a TIFF.

    One call at a time a process: Pillow's own pixel limit and Python's warning filters are set meanwhile.
    Of `limits` only the pixels are held here: bytes, memory and seconds are `DecodePool`'s, which stands around it.
    """
    try:
        with strict(limits.pixels):
            return _decode(data, shape, limits)
    except Exception as error:  # decoders raise whatever they like on broken input
        return BadImage(*failure_of(error, data))


def describe(data: bytes, limits: Limits) -> Identity | BadImage:
    """A picture's identity, from its header alone: nothing is decoded, so a broken body goes unseen."""
    try:
        with strict(limits.pixels):
            opened = open_file(data, limits.pixels)
            width, height = upright_size(opened.image.size, opened.orientation())
            return Identity(opened.sha256, width, height, opened.format)
    except Exception as error:
        return BadImage(*failure_of(error, data))


def _decode(data: bytes, shape: Shape, limits: Limits) -> Picture:
    opened = open_file(data, limits.pixels)
    picture, size = opened.image, opened.image.size
    scale = _draft(opened, shape) if shape.draft else 1
    opened.load()
    orientation = opened.orientation()
    if picture.size != size and scale == 1:  # HEIF and ICO may tell the truth only now
        size = picture.size
    image = to_rgb(picture)
    if scale == 1:
        resized = turn(image, orientation).resize((shape.width, shape.height), Image.Resampling(shape.resample))
    else:
        # The scaled size is rounded up: the box leaves out what lies beyond the picture's edge.
        box = (0.0, 0.0, size[0] / scale, size[1] / scale)
        wanted = _as_filed(shape, orientation)
        resized = turn(image.resize(wanted, Image.Resampling(shape.resample), box=box), orientation)
    width, height = upright_size(size, orientation)
    return Picture(opened.sha256, width, height, opened.format, np.array(resized))


def _draft(opened: Opened, shape: Shape) -> int:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 where that leaves enough; return the divisor (1: in full)."""
    if not opened.is_jpeg:
        return 1
    (width, height), (wide, high) = opened.image.size, _as_filed(shape, opened.orientation())
    for scale in (8, 4, 2):
        if min(width / (scale * wide), height / (scale * high)) >= DRAFT_RATIO:
            opened.image.draft(None, (width // scale, height // scale))
            return scale
    return 1


def _as_filed(shape: Shape, orientation: int) -> tuple[int, int]:
    """The (width, height) wanted, before the picture is turned upright."""
    return upright_size((shape.width, shape.height), orientation)
