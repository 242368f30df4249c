"""Canon's CR3: boxes as in ISO media files (ISO/IEC 14496-12), its full-size JPEG kept as if it were a film's frame.

The layout is a fact that https://github.com/lclevy/canon_cr3 found out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from blipq.worker.engine.boxes import Span, boxes
from blipq.worker.engine.raw_tiff import Embedded
from blipq.worker.engine.rgb import metadata_orientation

_HEADER = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")  # of the box with CMT1, EXIF's first directory
_PREVIEW = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")
_SAMPLES = (b"mdia", b"minf", b"stbl")  # the way from a track to the table of its samples
_PRVW = re.compile(rb"PRVW.{12}(.{4})", re.DOTALL)  # a preview's length; its JPEG follows


def embedded(data: bytes) -> list[Embedded]:
    """Where the JPEGs of a CR3 lie: each track's first sample, and the preview."""
    found: list[Embedded] = []
    for name, span in boxes(data, (0, len(data))):
        if name == b"moov":
            for inner, track in boxes(data, span):
                if inner == b"trak":
                    found += _first_sample(data, track)
        elif name == b"uuid" and data[span[0] : span[0] + 16] == _PREVIEW:
            match = _PRVW.search(data, span[0] + 16, min(span[1], span[0] + 64))
            if match:
                found.append(Embedded(match.end(), int.from_bytes(match[1]), surely=True))
    return found


def orientation(data: bytes) -> int:
    """A CR3's EXIF orientation, 1 to 8."""
    for name, span in boxes(data, (0, len(data))):
        if name == b"moov":
            for inner, header in boxes(data, span):
                if inner == b"uuid" and data[header[0] : header[0] + 16] == _HEADER:
                    for note, (start, end) in boxes(data, (header[0] + 16, header[1])):
                        if note == b"CMT1":
                            return metadata_orientation(data[start:end], None)
    return 1


def _first_sample(data: bytes, track: Span) -> Iterator[Embedded]:
    """Of one track a JPEG; of the others the sensor's data, in a coding of Canon's own."""
    spans = [track]
    for name in _SAMPLES:
        spans = [span for outer in spans[:1] for inner, span in boxes(data, outer) if inner == name]
    offset, length, jpeg = 0, 0, False
    for name, (start, end) in (box for span in spans[:1] for box in boxes(data, span)):
        table = data[start : min(end, start + 16)]
        if name == b"stsz":
            length = int.from_bytes(table[4:8]) or int.from_bytes(table[12:16])
        elif name == b"stsd":
            jpeg = b"JPEG" in data[start : min(end, start + 256)]
        elif name == b"co64":
            offset = int.from_bytes(table[8:16])
        elif name == b"stco":
            offset = int.from_bytes(table[8:12])
    if offset and length:
        yield Embedded(offset, length, surely=jpeg or offset + length > len(data))
