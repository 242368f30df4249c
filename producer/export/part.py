"""A stretch of a picture's file, and the answer where no caption can go into it."""

from __future__ import annotations

from dataclasses import dataclass


class NoPlace(ValueError):
    """A file that no caption can be written into without harm; the message says why."""


@dataclass(frozen=True)
class Part:
    """A stretch of a file. `packet` is what it holds where it is the file's XMP."""

    data: bytes
    name: bytes = b""
    packet: bytes | None = None


def joined(parts: list[Part], fresh: bytes, behind: int) -> bytes:
    """The parts with their XMP exchanged for `fresh`; where there is none, `fresh` comes behind so many parts."""
    if any(part.packet is not None for part in parts):
        return b"".join(fresh if part.packet is not None else part.data for part in parts)
    data = [part.data for part in parts]
    return b"".join([*data[:behind], fresh, *data[behind:]])
