"""A JPEG's frame and scans, as far as they show what a decoder does not say.

Data that are missing in the middle libjpeg replaces by grey; it warns of them, which Pillow does not pass on.

What cannot be known from outside the decoder: a scan of plausible length whose bits are wrong, and one that somebody
cut and closed again with an end marker, unless restart markers count its rows.
"""

from __future__ import annotations

import re

from blipq.worker.engine.container import Container

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_HOLE = bytes(1024)  # zeros in a row: two sectors that a copy never wrote
_END_OF_BLOCK = 0
_MOST_SEGMENTS = 1000  # before the frame
_BITS = 2  # the fewest that a block takes: one of its DC code, one that ends it


def lack(data: bytes, container: Container | None) -> str | None:
    """What is missing from a JPEG that was decoded, in words; None: nothing that can be told. See `read_container`."""
    if container is None:
        unended = data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
        return "its end is missing, filled with zeros" if unended and data.endswith(_HOLE[:64]) else None
    frame, tables, scan = b"", b"", memoryview(b"")
    interval = scans = 0
    for part in container.parts:
        marker, body = _segment(part)
        if marker in (0xC0, 0xC1):
            frame = bytes(body)
        elif marker == 0xC4:
            tables += bytes(body)
        elif marker == 0xDD:
            interval = int.from_bytes(body[:2])
        elif marker == 0xDA:
            scan, scans = body, scans + 1
    if not frame or scans != 1:  # progressive: a scan more or less only blurs
        return None
    return _gap(frame, tables, interval, scan)


def frame_size(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """(width, height) of the JPEG at `start`; None: there is none that shows a picture of 8 bits, or it is cut before
    its frame. Sensors' data in lossless JPEG show none."""
    end = min(end, len(data))
    if start < 0 or data[start : min(end, start + 3)] != b"\xff\xd8\xff":
        return None
    at = start + 2
    for _ in range(_MOST_SEGMENTS):
        while at < end and data[at] == 0xFF and data[at + 1 : at + 2] == b"\xff":
            at += 1
        if at + 9 > end or data[at] != 0xFF:
            return None
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in (0xC0, 0xC1, 0xC2):
            size = int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
            return size if data[at + 4] == 8 and min(size) > 0 else None
        if marker < 0xC0 or marker in (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xDB)) or length < 2:
            return None
        at += 2 + length
    return None


def _gap(frame: bytes, tables: bytes, interval: int, scan: memoryview) -> str | None:
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    factors = [(sides >> 4, sides & 15) for sides in frame[7::3]]
    if len(factors) == 1:
        factors = [(1, 1)]
    wide, high = (max(1, *sides) for sides in zip((1, 1), *factors, strict=True))
    units = -(-width // (8 * wide)) * -(-height // (8 * high))
    blocks = units * sum(across * down for across, down in factors)
    restarts = -(-units // interval) - 1 if interval else 0
    if len(scan) * 8 < blocks * _BITS or (restarts and len(_RESTART.findall(scan)) < restarts):
        return "its data end early"
    if _HOLE in bytes(scan) and _zeros_are_no_picture(tables):
        return "a part of its data is zeros"
    return None


def _zeros_are_no_picture(tables: bytes) -> bool:
    """Whether zeros decode to blocks full of the steepest waves, as the luminance of nearly all cameras does; where
    the code of an empty block is 0 in every table, they may be a plain sky."""
    at, firsts = 0, []
    while at + 17 < len(tables):
        if tables[at] & 0xF0:  # AC; the first of its symbols has the code of zeros alone
            firsts.append(tables[at + 17])
        at += 17 + sum(tables[at + 1 : at + 17])
    return not firsts or any(first != _END_OF_BLOCK for first in firsts)


def _segment(part: memoryview) -> tuple[int, memoryview]:
    """The marker of a container's part, and what follows its length."""
    at = 0
    while part[at] == 0xFF:
        at += 1
    return part[at], part[at + 3 :]
