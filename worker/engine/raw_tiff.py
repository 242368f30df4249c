"""Camera RAW files that are TIFF inside: which camera's they are, and where their JPEGs lie.

Offsets and tags are facts about the cameras' formats (TIFF 6.0, the DNG specification, and what ExifTool, LibRaw and
libopenraw have found out about makernotes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blipq.worker.engine.rgb import ORIENTATION
from blipq.worker.engine.tiff import SUB_DIRECTORIES, Directory, Tiff

_MAKES = (
    ("NIKON", "NEF"),
    ("SONY", "ARW"),
    ("PENTAX", "PEF"),
    ("RICOH", "PEF"),
    ("SAMSUNG", "SRW"),
    ("HASSELBLAD", "3FR"),
    ("PHASE ONE", "IIQ"),
    ("LEAF", "IIQ"),
    ("OLYMPUS", "ORF"),
    ("OM DIGITAL", "ORF"),
    ("PANASONIC", "RW2"),
    ("CANON", "CR2"),
)
FORMATS = ("DNG", "NRW", "RAW", *dict.fromkeys(format for _, format in _MAKES))
_ORDERS = {b"II": "<", b"MM": ">"}
_MAGIC = {b"*\0": None, b"\0*": None, b"RO": "ORF", b"RS": "ORF", b"OR": "ORF", b"U\0": "RW2"}

_SUBFILE, _COMPRESSION, _PHOTOMETRIC, _MAKE, _MODEL = 254, 259, 262, 271, 272
_STRIP, _STRIP_LENGTH, _JPEG, _JPEG_LENGTH = 273, 279, 513, 514
_MAKER_NOTE, _DNG_VERSION = 37500, 50706
_PANASONIC_JPEG = (0x2E, 0x127)  # the second in newer cameras
_REDUCED = 1  # of _SUBFILE: a smaller version of another picture in this file
_SENSOR = (32803, 34892)  # of _PHOTOMETRIC: a colour filter's mosaic, and linear sensor data
_SHOWN = (None, 0, 1, 2, 6)  # of _PHOTOMETRIC: grey, RGB, YCbCr; no masks, no depths
_JPEG_CODED = (6, 7)  # of _COMPRESSION
_CANON_SLICES = 50752  # beside a sensor's data, which Canon keeps as lossless JPEG


@dataclass(frozen=True)
class Embedded:
    """Bytes of the file that may be a JPEG, or `surely` are meant to be one."""

    start: int
    length: int
    surely: bool


@dataclass(frozen=True)
class RawTiff:
    """A RAW's format, its JPEGs in no order, and its own orientation (1 to 8)."""

    format: str
    embedded: list[Embedded]
    orientation: int


def read(data: bytes) -> RawTiff | None:
    """Take a RAW of TIFF structure apart; None for a plain TIFF and for anything else."""
    order, magic = _ORDERS.get(data[:2]), data[2:4]
    if not order or magic not in _MAGIC or len(data) < 8:
        return None
    tiff = Tiff(data, order)
    directories = list(tiff.directories(int.from_bytes(data[4:8], "little" if order == "<" else "big")))
    if not directories:
        format = _MAGIC[magic]
        return RawTiff(format, [], 1) if format else None
    format = _MAGIC[magic] or ("CR2" if data[8:10] == b"CR" else _format(directories))
    if not format:
        return None
    embedded = [part for directory in directories for part in _jpegs(directory)]
    noted = next((directory for directory in directories if _MAKER_NOTE in directory.tags), None)
    embedded += _in_maker_note(noted) if noted else ()
    orientation = directories[0].number(ORIENTATION) or 1
    return RawTiff(format, embedded, orientation if orientation <= 8 else 1)


def _format(directories: list[Directory]) -> str | None:
    """Of a file that begins like any TIFF: a RAW has sensor data, or a thumbnail in front and says whose it is."""
    first = directories[0]
    sensor = any(directory.number(_PHOTOMETRIC) in _SENSOR for directory in directories)
    thumbnail = bool((first.number(_SUBFILE) or 0) & _REDUCED)
    if _DNG_VERSION in first.tags and (sensor or thumbnail):
        return "DNG"
    make = first.text(_MAKE).upper()
    named = next((format for name, format in _MAKES if make.startswith(name)), None)
    if named == "NEF" and first.text(_MODEL).upper().startswith("COOLPIX"):
        named = "NRW"
    if sensor:
        return named or "RAW"
    return named if thumbnail and SUB_DIRECTORIES in first.tags else None  # its sensor data may be cut off


def _jpegs(directory: Directory) -> Iterator[Embedded]:
    base = directory.tiff.base
    start, length = directory.number(_JPEG), directory.number(_JPEG_LENGTH)
    if start and length:
        yield Embedded(base + start, length, surely=True)
    start, length = directory.number(_STRIP), directory.number(_STRIP_LENGTH)
    if start and length and directory.number(_PHOTOMETRIC) in _SHOWN and _CANON_SLICES not in directory.tags:
        yield Embedded(base + start, length, surely=directory.number(_COMPRESSION) in _JPEG_CODED)
    for tag in _PANASONIC_JPEG:
        entry = directory.tags.get(tag)
        if entry and entry.type == 7 and not directory.sub:
            yield Embedded(entry.at, entry.size, surely=True)


def _in_maker_note(directory: Directory) -> Iterator[Embedded]:
    outer, at = directory.tiff, directory.tags[_MAKER_NOTE].at
    data = outer.data
    head = data[at : at + 18]
    if head.startswith(b"Nikon\0"):
        yield from _nikon(data, at + 10)
    elif head.startswith(b"OLYMPUS\0"):
        yield from _olympus(Tiff(data, _ORDERS.get(head[8:10], outer.order), at), 12)
    elif head.startswith(b"OM SYSTEM\0"):
        yield from _olympus(Tiff(data, _ORDERS.get(head[12:14], outer.order), at), 16)
    elif head.startswith(b"OLYMP\0"):
        yield from _olympus(outer, at + 8 - outer.base)
    elif head.startswith(b"AOC\0"):
        yield from _pair(Tiff(data, _ORDERS.get(head[4:6], outer.order), outer.base), at + 6 - outer.base, 4, 3)
    elif head.startswith(b"PENTAX \0"):
        yield from _pair(Tiff(data, _ORDERS.get(head[8:10], outer.order), at), 10, 4, 3)


def _nikon(data: bytes, base: int) -> Iterator[Embedded]:
    """A TIFF of its own, whose tag 17 leads to the preview's directory."""
    order = _ORDERS.get(data[base : base + 2])
    if not order:
        return
    tiff = Tiff(data, order, base)
    found = tiff.directory(int.from_bytes(data[base + 4 : base + 8], "little" if order == "<" else "big"))
    offset = found[0].number(0x11) if found else None
    if offset:
        yield from _pair(tiff, offset, _JPEG, _JPEG_LENGTH)


def _olympus(tiff: Tiff, offset: int) -> Iterator[Embedded]:
    """The preview's place stands in the camera settings, a directory of its own; in old cameras in the note itself."""
    yield from _pair(tiff, offset, 0x88, 0x89)
    found = tiff.directory(offset)
    settings = found[0].tags.get(0x2020) if found else None
    if found and settings:
        inline = settings.type == 7
        yield from _pair(tiff, settings.at - tiff.base if inline else found[0].number(0x2020) or 0, 0x101, 0x102)


def _pair(tiff: Tiff, offset: int, start_tag: int, length_tag: int) -> Iterator[Embedded]:
    found = tiff.directory(offset)
    start, length = (found[0].number(tag) for tag in (start_tag, length_tag)) if found else (None, None)
    if start and length:
        yield Embedded(tiff.base + start, length, surely=True)
