"""Any mode of Pillow's to upright 8-bit RGB: what a viewer would show."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

ORIENTATION = 0x0112  # of EXIF
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn(image: Image.Image, orientation: int) -> Image.Image:
    """Apply an EXIF orientation of 1 to 8."""
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def metadata_orientation(exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation that EXIF states, else XMP; 1 when neither does or what they say is broken."""
    return stated_orientation(exif, xmp) or 1


def stated_orientation(exif: bytes | None, xmp: bytes | None) -> int | None:
    """`metadata_orientation`, but None where nothing is said."""
    if exif:
        tags = Image.Exif()
        try:
            tags.load(exif)
            stated = tags.get(ORIENTATION)
        except Exception:  # broken EXIF must not cost a caption
            stated = None
        if stated is not None:
            return _valid(stated)
    match = _XMP_ORIENTATION.search(xmp) if xmp else None
    return int(match[1]) if match else None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded picture to RGB: transparency flattened on white, deep channels scaled to 8 bits."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        flat = Image.new("RGB", image.size, "white")
        flat.paste(coloured, mask=coloured.getchannel("A"))
        return flat
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image.Image) -> Image.Image:
    """One channel of 16 or 32 bits, or of floats, to RGB.

    Such files rarely use all of their range, and no header says how much of it. Whole numbers count as the fewest of 8,
    10, 12, 14 or 16 bits that hold the brightest (scanners and microscopes write 10 and 12), floats as 0 to 1 or 0 to
    255. What fits none of these is stretched from its lowest to its highest value.
    """
    values = np.asarray(image)
    real = values.astype(np.float32)
    if image.mode == "F":
        finite = real[np.isfinite(real)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        np.nan_to_num(real, copy=False, nan=low, posinf=high, neginf=low)
        whites: tuple[int, ...] = (1, 255)
    else:
        low, high = float(real.min()), float(real.max())
        whites = (255, 1023, 4095, 16383, 65535)
    white = next((float(white) for white in whites if low >= 0 and high <= white), None)
    if white is None:
        real -= low
        white = max(high - low, 1e-30)
    real *= 255 / white
    grey = np.rint(real, out=real).clip(0, 255).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255  # a colour key on white
    return Image.fromarray(grey).convert("RGB")


def _valid(orientation: object) -> int:
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
