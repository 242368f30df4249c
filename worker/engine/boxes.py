"""The boxes that ISO media files are made of (ISO/IEC 14496-12): HEIF, AVIF and Canon's CR3."""

from __future__ import annotations

from collections.abc import Iterator

_MOST = 256  # boxes of one box; cameras write a dozen

Span = tuple[int, int]


def boxes(data: bytes, span: Span) -> Iterator[tuple[bytes, Span]]:
    """The names of the boxes in a span, and where their contents begin and end; the last may reach beyond the file."""
    at, end = span
    for _ in range(_MOST):
        if at + 8 > end:
            return
        size, head = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:
            size = end - at
        if size < head or not any(data[at : at + 8]):  # or padding
            return
        yield data[at + 4 : at + 8], (at + head, min(at + size, end))
        at += size
