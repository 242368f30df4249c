"""Words of a person's in a picture's file, wherever programs put a description: "nothing there" is a finding.

Besides `dc:description` that is XMP under other names and in other shapes, extended XMP, IPTC, Exif, notes of JPEG and
PNG. What is there and cannot be read counts as words: nobody knows that it holds none.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Literal

from blipq.producer.export.packet import BadXmp, other_words
from blipq.producer.export.part import Part
from blipq.producer.export.stock import says

_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENDED_HEAD = len(_EXTENDED) + 32 + 4 + 4  # its GUID, the whole length, the place of this part
_EXIF = (b"Exif\0\0", b"Exif\0\xff")
_PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC = re.compile(rb"\x1c\x02([\x05\x69\x78])(..)", re.DOTALL)  # object name, headline, caption
_IPTC_NAMES = {b"\x05": "IPTC title", b"\x69": "IPTC headline", b"\x78": "IPTC caption"}
_TAGS = {0x010E: "Exif ImageDescription", 0x9C9B: "Exif XPTitle", 0x9C9C: "Exif XPComment", 0x9C9F: "Exif XPSubject"}
_USER_COMMENT, _EXIF_IFD, _IPTC_TAG = 0x9286, 0x8769, 0x83BB
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 13: 4}  # bytes of a value, by its Exif type
_PNG_NOTES = {b"description", b"comment", b"title", b"caption", b"headline", b"usercomment", b"imagedescription"}
_LIMIT = 1_000_000  # bytes that a compressed note may unfold to


def own_words(parts: list[Part]) -> str | None:
    """Where a picture's file holds words of a person's besides its `dc:description`, or what cannot be read."""
    for part in parts:
        if part.packet is not None and (where := _of_packet(part.packet)) is not None:
            return where
    kind = parts[0].name
    return {b"jpeg": _of_jpeg, b"png": _of_png, b"webp": _of_webp}[kind](parts)


def _of_packet(packet: bytes) -> str | None:
    try:
        return other_words(packet)
    except BadXmp as error:
        return str(error)


def _of_jpeg(parts: list[Part]) -> str | None:
    extended: dict[int, bytes] = {}
    photoshop = b""
    for part in parts[1:]:
        segment = part.data.lstrip(b"\xff")
        marker, body = segment[:1], segment[3:]
        if marker == b"\xe1" and body.startswith(_EXIF):
            if (where := _of_exif(body[6:])) is not None:
                return where
        elif marker == b"\xe1" and body.startswith(_EXTENDED):
            extended[int.from_bytes(body[_EXTENDED_HEAD - 4 : _EXTENDED_HEAD])] = body[_EXTENDED_HEAD:]
        elif marker == b"\xed" and body.startswith(_PHOTOSHOP):
            photoshop += body[len(_PHOTOSHOP) :]
        elif marker == b"\xfe" and says(body):
            return "a JPEG comment"
    if extended:
        packet = b"".join(extended[at] for at in sorted(extended))
        if (where := _of_packet(packet)) is not None or b"description" in packet:
            return f"extended XMP ({where or 'dc:description'})"
    return _of_iptc(photoshop)


def _of_png(parts: list[Part]) -> str | None:
    for part in parts[1:]:
        body = part.data[8:-4]
        if part.name == b"eXIf":
            where = _of_exif(body)
        elif part.name in (b"tEXt", b"zTXt", b"iTXt") and part.packet is None:
            where = _of_note(part.name, body)
        else:
            continue
        if where is not None:
            return where
    return None


def _of_webp(parts: list[Part]) -> str | None:
    for part in parts[1:]:
        if part.name == b"EXIF":
            body = part.data[8:]
            if (where := _of_exif(body.removeprefix(_EXIF[0]))) is not None:
                return where
    return None


def _of_note(name: bytes, body: bytes) -> str | None:
    """A PNG's text, by its keyword; also the profiles that ImageMagick writes as hexadecimal texts."""
    keyword, _, text = body.partition(b"\0")
    profile = keyword.startswith(b"Raw profile type ")
    if not profile and keyword.strip().lower() not in _PNG_NOTES:
        return None
    where = f"a PNG {keyword.decode('latin-1')}"
    try:
        if name == b"zTXt":
            text = _unfolded(text[1:])
        elif name == b"iTXt":
            packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
            text = _unfolded(text) if packed else text
        if not profile:
            return where if says(text) else None
        data = bytes.fromhex(text.decode("ascii").split(maxsplit=2)[-1])
    except (ValueError, zlib.error):
        return f"{where} that cannot be read"
    if keyword.endswith((b"exif", b"APP1")):
        return _of_exif(data.removeprefix(_EXIF[0])) if not data.startswith(b"http:") else _of_packet(data[29:])
    return _of_packet(data) if keyword.endswith(b"xmp") else _of_iptc(data)


def _unfolded(data: bytes) -> bytes:
    unfolding = zlib.decompressobj()
    text = unfolding.decompress(data, _LIMIT)
    if unfolding.unconsumed_tail:
        raise ValueError("it unfolds to more")
    return text


def _of_iptc(data: bytes) -> str | None:
    """A caption, headline or title among IPTC's datasets, wherever they stand."""
    for found in _IPTC.finditer(data):
        length = int.from_bytes(found[2])
        if says(data[found.end() : found.end() + (length if length < 0x8000 else 64)]):
            return _IPTC_NAMES[found[1]]
    return None


def _of_exif(tiff: bytes) -> str | None:
    """A description among Exif's tags; that it cannot be read, where it cannot."""
    order: Literal["<", ">"] = "<" if tiff.startswith(b"II") else ">"
    try:
        if tiff[:2] not in (b"II", b"MM"):
            raise struct.error
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        for tag, value in _tags(tiff, order, first, deeper=True):
            if tag in _TAGS and says(_narrow(value) if tag >= 0x9C9B else value):
                return _TAGS[tag]
            if tag == _USER_COMMENT and says(_narrow(value[8:])):
                return "Exif UserComment"
            if tag == _IPTC_TAG and (where := _of_iptc(value)) is not None:
                return where
    except struct.error:
        return "Exif that cannot be read"
    return None


def _tags(tiff: bytes, order: Literal["<", ">"], at: int, *, deeper: bool) -> Iterator[tuple[int, bytes]]:
    """Tags of a directory with their values, and of the Exif directory in it. Raises struct.error."""
    (count,) = struct.unpack_from(f"{order}H", tiff, at) if at else (0,)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", tiff, entry)
        (place,) = struct.unpack_from(f"{order}I", tiff, entry + 8)
        if tag == _EXIF_IFD and deeper:
            yield from _tags(tiff, order, place, deeper=False)
        elif tag in _TAGS or tag in (_USER_COMMENT, _IPTC_TAG):
            size = number * _SIZES.get(kind, 1)
            start = entry + 8 if size <= 4 else place
            if start + size > len(tiff):
                raise struct.error
            yield tag, tiff[start : start + size]


def _narrow(value: bytes) -> bytes:
    """Text of two bytes a letter without the empty ones: enough to tell whether it says anything."""
    return value.replace(b"\0", b"")
