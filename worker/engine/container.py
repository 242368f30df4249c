"""JPEG, PNG and WebP taken apart: which bytes make the pixels, and which are notes about them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from blipq.worker.engine.rgb import metadata_orientation

_TEXT_LIMIT = 1 << 20  # bytes a compressed note may unfold to
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # a marker that is neither a stuffed byte nor a restart
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
# Frame headers without the tables that share their range (DHT, JPG, DAC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True)
class Container:
    """What is left of a file without its metadata: `parts` in the file's order, and the orientation (1 to 8)."""

    codec: bytes
    parts: list[memoryview]
    orientation: int


class _Malformed(Exception):
    """The file does not keep to its container's structure."""


def read_container(data: bytes) -> Container | None:
    """Take a JPEG, PNG or WebP apart; None for any other format and for one whose structure is broken."""
    for magic, read in _READERS:
        if magic.match(data):
            try:
                return read(memoryview(data))
            except (_Malformed, IndexError):
                return None
    return None


def _jpeg(data: memoryview) -> Container:
    """Keep everything but APPn and COM segments, up to the end of the first picture.

    JFIF and Adobe segments say how colours are coded, so what libjpeg concludes from them is kept in their place. ICC
    profiles go: BLIP's preprocessing does not apply them. MPO previews and films behind the picture go too.
    """
    parts: list[memoryview] = []
    exif, xmp = b"", None
    jfif, adobe, components = False, None, b""
    at = 2
    while True:
        if data[at] != 0xFF:
            raise _Malformed
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        if marker == 0xD9:
            break
        end = at + 1 + int.from_bytes(data[at + 1 : at + 3])
        if marker < 0xC0 or 0xD0 <= marker <= 0xD8 or end < at + 3 or end > len(data):
            raise _Malformed
        body = bytes(data[at + 3 : end]) if marker != 0xDA else b""
        if marker in _FRAMES:
            components = body[6::3]
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = True
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            exif += body if not exif else body[6:]
        elif marker == 0xE1 and body.startswith(_XMP_HEADER):
            xmp = body.removeprefix(_XMP_HEADER)
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        if marker == 0xDA:
            scan_end = _SCAN_END.search(data, end)
            if scan_end is None:
                raise _Malformed
            end = scan_end.start()
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(data[at:end])
        at = end
    codec = b"jpeg " + _jpeg_colour(components, jfif, adobe)
    return Container(codec, parts, metadata_orientation(exif, xmp))


def _jpeg_colour(components: bytes, jfif: bool, adobe: int | None) -> bytes:
    """How libjpeg reads the components (jdapimin.c, default_decompress_parms)."""
    if len(components) == 3:
        if not jfif and (adobe == 0 or (adobe is None and components == b"RGB")):
            return b"RGB"
        return b"YCC"
    if len(components) == 4:
        return b"CMYK" if adobe in (None, 0) else b"YCCK"
    return b"grey"


def _png(data: memoryview) -> Container:
    """Keep critical chunks, transparency and animation frames, up to IEND."""
    parts: list[memoryview] = []
    exif, xmp, profile = None, None, None
    at, name = 8, b""
    while name != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4])
        name = bytes(data[at + 4 : at + 8])
        if end > len(data) or len(name) < 4:
            raise _Malformed
        body = data[at + 8 : end - 4]
        if not name[0] & 0x20 or name in (b"tRNS", b"acTL", b"fcTL", b"fdAT"):
            parts.append(data[at:end])
        elif name == b"eXIf":
            exif = bytes(body)
        elif name == b"iTXt" and bytes(body[:18]) == b"XML:com.adobe.xmp\0":
            packed, text = body[18], bytes(body[20:]).split(b"\0", 2)[-1]
            xmp = _unfold(text) if packed else text
        elif name in (b"zTXt", b"tEXt") and bytes(body[:22]) == b"Raw profile type exif\0":
            profile = _unfold(bytes(body[23:])) if name == b"zTXt" else bytes(body[22:])
        at = end
    return Container(b"png", parts, metadata_orientation(exif or from_hex(profile), xmp))


def _webp(data: memoryview) -> Container:
    """Keep the coded frames; of the extended header only what adding a note would not change."""
    parts: list[memoryview] = []
    exif, xmp = None, None
    end_of_file = 8 + int.from_bytes(data[4:8], "little")
    if end_of_file > len(data):
        raise _Malformed
    at, animated, alpha = 12, b"", None
    while at + 8 <= end_of_file:
        name, size = bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        if at + 8 + size > end_of_file:
            raise _Malformed
        if name == b"VP8X":
            alpha = bool(body[0] & 0x10)
            animated = bytes(body[4:10]) if body[0] & 0x02 else b""
        elif name in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            parts.append(data[at : at + 8 + size])
            if name == b"VP8L" and alpha is None:
                alpha = bool(body[4] & 0x10)
        elif name == b"EXIF":
            exif = bytes(body)
        elif name == b"XMP ":
            xmp = bytes(body)
        at += 8 + size + (size & 1)
    if not parts:
        raise _Malformed
    return Container(b"webp " + (b"alpha" if alpha else b"") + animated, parts, metadata_orientation(exif, xmp))


def _unfold(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _TEXT_LIMIT)
    except zlib.error:
        return b""


def from_hex(profile: bytes | None) -> bytes | None:
    """EXIF as ImageMagick writes it into PNG text: three lines of heading, then hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(profile.split(b"\n")[3:]).decode("ascii")) if profile else None
    except ValueError:
        return None


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[memoryview], Container]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
)
