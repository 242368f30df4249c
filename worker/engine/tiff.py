"""TIFF's directories of tags, read without trust: whatever the bytes are, few steps are taken and nothing is raised."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

SUB_DIRECTORIES, EXIF = 330, 34665  # tags that hold offsets of further directories
_MOST = 64  # directories of a file; cameras write up to a dozen
_MOST_TAGS = 1000  # of a directory; cameras write up to 300
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 13: 4}  # bytes a value, by type; fractions are not read
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I"}


@dataclass(frozen=True)
class Entry:
    """A tag's value: `count` of a `type`, at `at` in the file, `size` bytes long, all of them inside the file."""

    type: int
    count: int
    at: int
    size: int


@dataclass(frozen=True)
class Directory:
    """`tags`, read with `tiff`; `sub` says whether another directory's tag led here, not the file's chain."""

    tiff: Tiff
    tags: dict[int, Entry]
    sub: bool

    def numbers(self, tag: int) -> tuple[int, ...]:
        """A tag's unsigned whole numbers, the first 64; none where it is missing or of another type."""
        entry = self.tags.get(tag)
        letter = _LETTERS.get(entry.type) if entry else None
        if not entry or not letter:
            return ()
        layout = f"{self.tiff.order}{min(entry.count, _MOST)}{letter}"
        return struct.unpack_from(layout, self.tiff.data, entry.at)

    def number(self, tag: int) -> int | None:
        """A tag's number where it has exactly one."""
        values = self.numbers(tag)
        return values[0] if len(values) == 1 else None

    def text(self, tag: int) -> str:
        """A tag's text, up to its first NUL; empty where it is missing."""
        entry = self.tags.get(tag)
        return (
            bytes(self.tiff.data[entry.at : entry.at + min(entry.size, 256)]).split(b"\0")[0].decode("ascii", "replace")
            if entry
            else ""
        )


@dataclass(frozen=True)
class Tiff:
    """`data` as TIFF: offsets count from `base`, and `order` is struct's sign for how its numbers are written."""

    data: bytes
    order: str
    base: int = 0

    def directory(self, offset: int, *, sub: bool = False) -> tuple[Directory, int] | None:
        """The directory at an offset, and the offset of the next of the chain (0: none). Broken tags are left out."""
        start = self.base + offset
        if start + 2 > len(self.data):
            return None
        (count,) = struct.unpack_from(f"{self.order}H", self.data, start)
        end = start + 2 + 12 * count
        tags: dict[int, Entry] = {}
        for at in range(start + 2, min(end, start + 2 + 12 * _MOST_TAGS, len(self.data) - 11), 12):
            tag, type_, values = struct.unpack_from(f"{self.order}HHI", self.data, at)
            size = _SIZES.get(type_, 0) * values
            place = at + 8
            if size > 4:
                place = self.base + struct.unpack_from(f"{self.order}I", self.data, at + 8)[0]
            if size and place + size <= len(self.data):
                tags.setdefault(tag, Entry(type_, values, place, size))
        following = struct.unpack_from(f"{self.order}I", self.data, end)[0] if end + 4 <= len(self.data) else 0
        return Directory(self, tags, sub), following

    def directories(self, first: int) -> Iterator[Directory]:
        """The chain from an offset on, and whatever its tags lead to; each once, 64 at the most."""
        seen: set[int] = set()
        waiting = deque([(first, False)])
        while waiting and len(seen) < _MOST:
            offset, sub = waiting.popleft()
            if not offset or offset in seen:
                continue
            seen.add(offset)
            found = self.directory(offset, sub=sub)
            if not found:
                continue
            directory, following = found
            yield directory
            waiting.append((following, sub))
            waiting.extend((deeper, True) for tag in (SUB_DIRECTORIES, EXIF) for deeper in directory.numbers(tag))
