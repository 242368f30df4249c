"""JPEG taken apart and put together again around its XMP packet, with the index of further pictures kept right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from blipq.producer.export import multipicture
from blipq.producer.export.part import NoPlace, Part, joined

_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF = b"Exif\0"  # and a byte that no program agrees on
_LIMIT = 65_535 - 2 - len(_XMP)


def take_apart(data: bytes) -> Iterator[Part]:
    """Its segments, and all from the first scan on as one. Raises NoPlace, IndexError where it is broken."""
    yield Part(data[:2], b"jpeg")
    at = 2
    while True:
        start = at
        if data[at] != 0xFF:
            raise NoPlace("its structure is broken")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        end = at + 1 + int.from_bytes(data[at + 1 : at + 3])
        if marker == 0xDA:
            if data.find(b"\xff\xd9", end) < 0:
                raise NoPlace("it is cut short")
            yield Part(data[start:], b"SOS")
            return
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or end < at + 3 or end > len(data):
            raise NoPlace("its structure is broken")
        body = data[at + 3 : end]
        is_xmp = marker == 0xE1 and body.startswith(_XMP)
        yield Part(data[start:end], _name(marker, body), body.removeprefix(_XMP) if is_xmp else None)
        at = end


def put_together(parts: list[Part], packet: bytes) -> bytes:
    """The file with another packet. Raises NoPlace where it is too long, or the further pictures would be lost."""
    if len(packet) > _LIMIT:
        raise NoPlace(f"its XMP would have {len(packet):,} bytes, and a JPEG holds {_LIMIT:,}; use --to xmp")
    body = _XMP + packet
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body
    heads = 1
    while parts[heads].name in (b"head", b"exif"):
        heads += 1
    if any(part.name == b"mpf" for part in parts):
        old = sum(len(part.data) for part in parts)
        parts = _moved(parts, grows=len(joined(parts, segment, behind=heads)) - old)
    return joined(parts, segment, behind=heads)


def picture_of(parts: list[Part]) -> list[bytes]:
    """All but its XMP, and each further picture as found through the index. Raises NoPlace where that is broken."""
    kept = [
        multipicture.unplaced(part.data) if part.name == b"mpf" else part.data for part in parts if part.packet is None
    ]
    return kept + [data for _, data in _further(parts)]


def _name(marker: int, body: bytes) -> bytes:
    if marker == 0xE1 and body.startswith(_EXIF):
        return b"exif"
    if marker == 0xE2 and body.startswith(multipicture.MARK):
        return b"mpf"
    return b"head" if marker == 0xE0 else b"segment"


def _moved(parts: list[Part], grows: int) -> list[Part]:
    """The parts with an index that is right when the XMP has grown by so many bytes."""
    places = list(accumulate((len(part.data) for part in parts), initial=0))
    for start, _ in _further(parts):
        for part, at in zip(parts, places, strict=False):
            body = part.data.partition(_EXIF)[2][1:]
            if part.name == b"exif" and multipicture.leads_into(body, start - at - len(part.data) + len(body)):
                raise NoPlace(
                    "its camera's notes lead to a preview by its distance in bytes; --to xmp writes beside it"
                )
    last = max((number for number, part in enumerate(parts) if part.packet is not None), default=0)
    return [
        replace(part, data=multipicture.moved(part.data, grows, grows if number < last else 0))
        if part.name == b"mpf"
        else part
        for number, part in enumerate(parts)
    ]


def _further(parts: list[Part]) -> list[tuple[int, bytes]]:
    """Place and bytes of each further picture."""
    file = b"".join(part.data for part in parts)
    found: list[tuple[int, bytes]] = []
    at = 0
    for part in parts:
        if part.name == b"mpf":
            found += multipicture.pictures(part.data, at, file)
        at += len(part.data)
    return found
