"""JPEG, PNG and WebP taken apart and put together again around their XMP packet; no other byte changes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace

from blipq.producer.export import jpeg
from blipq.producer.export.part import NoPlace, Part, joined

_PNG_XMP = b"XML:com.adobe.xmp"
_PACKET_LIMIT = 16_000_000  # bytes that a compressed packet may unfold to
_XMP_FLAG, _ALPHA_FLAG = 0x04, 0x10  # of WebP's extended header
_WITHOUT_XMP = bytes(byte & ~_XMP_FLAG for byte in range(256))


def take_apart(data: bytes) -> list[Part]:
    """All of a file as parts. Raises NoPlace: another format, a broken one, or several pictures that would be lost."""
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return list(jpeg.take_apart(data))
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return list(_png(data))
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return list(_webp(data))
    except (IndexError, zlib.error):
        raise NoPlace("its structure is broken") from None
    raise NoPlace("captions go into JPEG, PNG and WebP files alone; --to xmp writes beside any")


def packet_of(parts: list[Part]) -> bytes | None:
    """The XMP packet among a file's parts, or None. Raises NoPlace where there are several."""
    packets = [part.packet for part in parts if part.packet is not None]
    if len(packets) > 1:
        raise NoPlace("it holds several XMP packets")
    return packets[0] if packets else None


def put_together(parts: list[Part], packet: bytes) -> bytes:
    """The file with another packet, or with its first. Raises NoPlace where it does not fit."""
    build = {b"jpeg": jpeg.put_together, b"png": _with_png, b"webp": _with_webp}[parts[0].name]
    return build(parts, packet)


def picture_of(parts: list[Part]) -> list[bytes]:
    """All that a file holds but its XMP and what counts it: equal before and after, or the picture was harmed."""
    if parts[0].name == b"jpeg":
        return jpeg.picture_of(parts)
    kept = [part for part in parts if part.packet is None]
    if parts[0].name != b"webp":
        return [part.data for part in kept]
    if not any(part.name == b"VP8X" for part in kept):
        kept.append(Part(_extended(kept[1]), b"VP8X"))  # the one that XMP makes necessary
    headers = [part.data[8:9].translate(_WITHOUT_XMP) + part.data[9:] for part in kept if part.name == b"VP8X"]
    return headers + [part.data for part in kept if part.name not in (b"webp", b"VP8X")]


def _png(data: bytes) -> Iterator[Part]:
    yield Part(data[:8], b"png")
    at, name = 8, b""
    while name != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4])
        name = data[at + 4 : at + 8]
        if end > len(data) or len(name) < 4:
            raise NoPlace("its structure is broken")
        body = data[at + 8 : end - 4]
        packet = None
        if name == b"iTXt" and body.startswith(_PNG_XMP + b"\0"):
            packed, text = body[len(_PNG_XMP) + 1], body[len(_PNG_XMP) + 3 :].split(b"\0", 2)[-1]
            packet = _unfold(text) if packed else text
        yield Part(data[at:end], name, packet)
        at = end
    yield Part(data[at:], b"rest")


def _with_png(parts: list[Part], packet: bytes) -> bytes:
    body = b"iTXt" + _PNG_XMP + b"\0\0\0\0\0" + packet
    chunk = (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    return joined(parts, chunk, behind=2)


def _webp(data: bytes) -> Iterator[Part]:
    size = 8 + int.from_bytes(data[4:8], "little")
    if size > len(data):
        raise NoPlace("its structure is broken")
    yield Part(data[:12], b"webp")
    at = 12
    while at < size:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        end = min(at + 8 + length + length % 2, size)
        if at + 8 + length > size:
            raise NoPlace("its structure is broken")
        name = data[at : at + 4]
        yield Part(data[at:end], name, data[at + 8 : at + 8 + length] if name == b"XMP " else None)
        at = end
    yield Part(data[size:], b"rest")


def _with_webp(parts: list[Part], packet: bytes) -> bytes:
    chunk = b"XMP " + len(packet).to_bytes(4, "little") + packet + b"\0" * (len(packet) % 2)
    if not any(part.name == b"VP8X" for part in parts):
        parts = [parts[0], Part(_extended(parts[1]), b"VP8X"), *parts[1:]]
    parts = [
        replace(part, data=part.data[:8] + bytes([part.data[8] | _XMP_FLAG]) + part.data[9:])
        if part.name == b"VP8X"
        else part
        for part in parts
    ]
    rest = parts[-1].data
    whole = joined(parts[:-1], chunk, behind=len(parts) - 1)
    return b"RIFF" + (len(whole) - 8).to_bytes(4, "little") + whole[8:] + rest


def _extended(frame: Part) -> bytes:
    """The extended header that a simple WebP lacks: its size and whether it has transparency, as its frame says."""
    body = frame.data[8:]
    if frame.name == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        wide, high = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        flags = 0
    elif frame.name == b"VP8L" and body[:1] == b"\x2f":
        bits = int.from_bytes(body[1:5], "little")
        wide, high = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags = _ALPHA_FLAG if bits >> 28 & 1 else 0
    else:
        raise NoPlace("its structure is broken")
    size = (wide - 1).to_bytes(3, "little") + (high - 1).to_bytes(3, "little")
    return b"VP8X" + (10).to_bytes(4, "little") + bytes([flags, 0, 0, 0]) + size


def _unfold(data: bytes) -> bytes:
    unfolding = zlib.decompressobj()
    text = unfolding.decompress(data, _PACKET_LIMIT)
    if unfolding.unconsumed_tail:
        raise NoPlace(f"its XMP unfolds to more than {_PACKET_LIMIT:,} bytes")
    return text
