"""Data that a JPEG lacks though libjpeg decodes it: it fills in grey for them and warns, which Pillow does not pass on.

What cannot be known from outside the decoder: a scan of plausible length whose bits are wrong, and one that somebody
cut and closed again with an end marker, unless restart markers count its rows.
"""

from __future__ import annotations

import re

from blipq.worker.engine.container import Container

_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_HOLE = bytes(1024)  # zeros in a row: two sectors that a copy never wrote
_END_OF_BLOCK = 0
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
