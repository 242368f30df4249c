"""The index of a JPEG with several pictures (Multi-Picture Format, CIPA DC-007), as phones and cameras write it.

The further pictures lie behind the first one's end. The index counts their places from its own byte order mark, and
tells the first picture's size: both change with what is written into the first picture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from blipq.producer.export.part import NoPlace

MARK = b"MPF\0"
_ENTRIES = 0xB002  # the tag of the list: 16 bytes a picture, its size at 4, its place at 8
_LED_INTO = 256  # bytes of a picture's beginning that a camera's own notes may point at (Sony: 106 to 130)


@dataclass(frozen=True)
class _Index:
    """Where an index segment has its numbers."""

    order: Literal["<", ">"]
    base: int  # in the segment: places count from here
    entries: range  # in the segment: the pictures' entries, the first picture's first


def pictures(segment: bytes, at: int, file: bytes) -> Iterator[tuple[int, bytes]]:
    """Place and bytes of each further picture. `at` is the segment's place in the file. Raises NoPlace."""
    index = _read(segment)
    for entry in index.entries[1:]:
        size, place = struct.unpack_from(f"{index.order}II", segment, entry + 4)
        start = at + index.base + place
        if not place or not file.startswith(b"\xff\xd8", start):  # sizes are often told wrong
            raise NoPlace("its list of several pictures leads nowhere; --to xmp writes beside it")
        yield start, file[start : start + size]


def moved(segment: bytes, grows: int, behind: int) -> bytes:
    """The index of a file whose first picture grows by so many bytes, `behind` of them behind the index."""
    index, made = _read(segment), bytearray(segment)
    for entry in index.entries:
        first = entry == index.entries[0]
        field = entry + (4 if first else 8)
        (number,) = struct.unpack_from(f"{index.order}I", segment, field)
        if number:  # some say no size of the first picture
            struct.pack_into(f"{index.order}I", made, field, number + (grows if first else behind))
    return bytes(made)


def unplaced(segment: bytes) -> bytes:
    """The index without the numbers that `moved` changes."""
    index, made = _read(segment), bytearray(segment)
    for entry in index.entries:
        struct.pack_into("4x", made, entry + (4 if entry == index.entries[0] else 8))
    return bytes(made)


def leads_into(exif: bytes, start: int) -> bool:
    """Whether the numbers of an Exif body hold a place near a picture's `start`, which counts as they do.

    A camera's own notes (Sony's) lead to a preview so, in formats that only their makers know: what is moved would be
    lost to them. Chance alone says yes once in some hundred photos, and those are captioned beside.
    """
    order: Literal["little", "big"] = "little" if exif.startswith(b"II") else "big"
    return any(number.to_bytes(4, order) in exif for number in range(max(0, start), start + _LED_INTO))


def _read(segment: bytes) -> _Index:
    base = segment.index(MARK) + len(MARK)
    order: Literal["<", ">"] = "<" if segment.startswith(b"II*\0", base) else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", segment, base + 4)
        (tags,) = struct.unpack_from(f"{order}H", segment, base + directory)
        for tag in range(tags):
            number, _, size, place = struct.unpack_from(f"{order}HHII", segment, base + directory + 2 + 12 * tag)
            if number == _ENTRIES and size >= 16 and base + place + size <= len(segment):
                return _Index(order, base, range(base + place, base + place + size - size % 16, 16))
    except struct.error:
        pass
    raise NoPlace("its list of several pictures is broken; --to xmp writes beside it")
