"""What a file itself shows to be missing or wrong though its decoder made a picture of it."""

from __future__ import annotations

import zlib

from blipq.worker.engine.boxes import boxes
from blipq.worker.engine.container import Container
from blipq.worker.engine.jpeg_scan import lack

_ZEROS = bytes(1024)


def damage(format: str, data: bytes, container: Container | None, exif: bytes) -> str | None:
    """What is wrong, in words, with a picture of a format of Pillow's that was decoded; None: nothing that can be told.

    `exif` is its EXIF. WebP, and what is not compressed, may end in as many zeros as it likes: a plain black picture.
    """
    if format in ("JPEG", "MPO"):
        return lack(data, container)
    if format == "PNG":
        return _wrong_sum(data)
    if format in ("AVIF", "HEIF"):
        return _unwritten(data, exif)
    return None


def _wrong_sum(png: bytes) -> str | None:
    """Pillow skips the checksums of pixels, and stops at the last row: a stream of zeros unpacks to whole rows."""
    at, data = 8, memoryview(png)
    while at + 12 <= len(png):
        end = at + 12 + int.from_bytes(data[at : at + 4])
        name = png[at + 4 : at + 8]
        if name == b"IEND" or end > len(png):
            return None
        if name == b"IDAT" and zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return "a checksum of its pixels is wrong"
        at = end
    return None


def _unwritten(data: bytes, exif: bytes) -> str | None:
    """HEVC keeps zeros apart (ISO/IEC 23008-2, 7.4.2), and AV1 has no more than 16 of them in a plain black picture;
    a thousand at the end are what a copy never wrote, unless they are padding behind EXIF or behind the last box."""
    name, (start, end) = [(b"", (0, 0)), *boxes(data, (0, len(data)))][-1]
    zeros = name == b"mdat" and end - start > len(_ZEROS) and data.endswith(_ZEROS, start, end)
    return "its end is missing, filled with zeros" if zeros and not exif.endswith(_ZEROS) else None
