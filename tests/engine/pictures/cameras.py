"""Camera RAW files as cameras lay them out, with little in place of the sensor's data: no real ones are at hand.

`CAMERAS` maps a format's name to a function of the large preview, the small one, and the RAW's own orientation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

Tag = tuple[int, int, object]  # number, type, value or values
BYTE, ASCII, SHORT, LONG, UNDEFINED = 1, 2, 3, 4, 7
SENSOR_DATA = bytes(range(256)) * 8
LOSSLESS = (
    b"\xff\xd8\xff\xc4\x00\x14" + bytes(18) + b"\xff\xc3\x00\x0e\x0e\x0d\xb8\x08\x00\x02" + bytes(900) + b"\xff\xd9"
)


class Writer:
    """A TIFF that grows: `put` what tags point to, then the directory that holds them."""

    def __init__(self, order: str, magic: bytes = b"", head: bytes = b"") -> None:
        self.order = order
        magic = magic or (b"II*\0" if order == "<" else b"MM\0*")
        self.out = bytearray(magic + bytes(4) + head)

    def put(self, data: bytes) -> int:
        self.out += bytes(len(self.out) % 2)
        self.out += data
        return len(self.out) - len(data)

    def directory(self, tags: Sequence[Tag], following: int = 0, base: int = 0) -> int:
        entries = b""
        for number, kind, value in sorted(tags, key=lambda tag: tag[0]):
            if isinstance(value, bytes):
                count, packed = len(value), value
            else:
                values = value if isinstance(value, list) else [value]
                letter = {BYTE: "B", SHORT: "H", LONG: "I", 13: "I"}[kind]
                count, packed = len(values), struct.pack(f"{self.order}{len(values)}{letter}", *values)
            if len(packed) > 4:
                packed = struct.pack(f"{self.order}I", self.put(packed) - base)
            entries += struct.pack(f"{self.order}HHI", number, kind, count) + packed.ljust(4, b"\0")
        return self.put(struct.pack(f"{self.order}H", len(tags)) + entries + struct.pack(f"{self.order}I", following))

    def done(self, first: int) -> bytes:
        self.out[4:8] = struct.pack(f"{self.order}I", first)
        return bytes(self.out)

    def thumbnail(self) -> list[Tag]:
        """160 x 120 pixels of plain RGB, what a TIFF reader takes such a file for."""
        return [
            (254, LONG, 1),
            (256, LONG, 160),
            (257, LONG, 120),
            (258, SHORT, [8, 8, 8]),
            (259, SHORT, 1),
            (262, SHORT, 2),
            (273, LONG, self.put(bytes(160 * 120 * 3))),
            (277, SHORT, 3),
            (278, LONG, 120),
            (279, LONG, 160 * 120 * 3),
        ]

    def sensor(self, compression: int, photometric: int = 32803) -> list[Tag]:
        return [
            (254, LONG, 0),
            (256, LONG, 6000),
            (257, LONG, 4000),
            (258, SHORT, 14),
            (259, SHORT, compression),
            (262, SHORT, photometric),
            (273, LONG, self.put(SENSOR_DATA)),
            (277, SHORT, 1),
            (279, LONG, len(SENSOR_DATA)),
        ]

    def jpeg(self, data: bytes) -> list[Tag]:
        return [(513, LONG, self.put(data)), (514, LONG, len(data))]

    def strip(self, data: bytes, compression: int = 7) -> list[Tag]:
        return [(259, SHORT, compression), (273, LONG, self.put(data)), (279, LONG, len(data))]


def made_by(make: bytes, model: bytes, orientation: int) -> list[Tag]:
    return [(271, ASCII, make + b"\0"), (272, ASCII, model + b"\0"), (274, SHORT, orientation)]


def nef(large: bytes, small: bytes, orientation: int, order: str = ">", model: bytes = b"NIKON D850") -> bytes:
    file = Writer(order)
    subs = [
        file.directory([(254, LONG, 1), (259, SHORT, 6), *file.jpeg(large)]),
        file.directory(file.sensor(34713)),
        file.directory([(254, LONG, 1), (259, SHORT, 6), *file.jpeg(small)]),
    ]
    make = made_by(b"NIKON CORPORATION", model, orientation)
    return file.done(file.directory([*file.thumbnail(), *make, (330, LONG, subs)]))


def nrw(large: bytes, small: bytes, orientation: int) -> bytes:
    return nef(large, small, orientation, "<", b"COOLPIX P7800")


def nikon_note(large: bytes, small: bytes, orientation: int) -> bytes:
    """The preview is found through the maker note alone: a TIFF of its own, whose offsets count from its header."""
    note = Writer(">")
    note.put(b"\0\0")
    preview = note.directory(note.jpeg(large))
    inner = note.done(note.directory([(0x11, LONG, preview)]))
    file = Writer(">")
    exif = file.directory([(37500, UNDEFINED, b"Nikon\0\x02\x10\0\0" + inner)])
    subs = [file.directory(file.sensor(34713))]
    make = made_by(b"NIKON", b"NIKON D1", orientation)
    return file.done(file.directory([*file.thumbnail(), *make, (330, LONG, subs), (34665, LONG, exif)]))


def cr2(large: bytes, small: bytes, orientation: int) -> bytes:
    file = Writer("<", head=b"CR\x02\0" + bytes(4))
    sensor = file.directory([*file.strip(LOSSLESS, 6), (50752, SHORT, [2, 1728, 1904])])
    rgb = file.directory([(262, SHORT, 2), *file.strip(bytes(900), 1)], sensor)
    second = file.directory(file.jpeg(small), rgb)
    make = made_by(b"Canon", b"Canon EOS 7D", orientation)
    first = [(256, SHORT, 5184), (257, SHORT, 3456), *make, *file.strip(large, 6)]
    return file.done(file.directory(first, second))


def arw(large: bytes, small: bytes, orientation: int) -> bytes:
    file = Writer("<")
    full = file.directory([(254, LONG, 1), (259, SHORT, 6), *file.jpeg(large)])
    second = file.directory([(254, LONG, 1), (259, SHORT, 6), *file.jpeg(small)], full)
    sub = file.directory(file.sensor(32767))
    make = made_by(b"SONY", b"ILCE-7M3", orientation)
    return file.done(file.directory([(254, LONG, 1), *make, *file.jpeg(small), (330, LONG, sub)], second))


def dng(large: bytes, small: bytes, orientation: int, order: str = "<") -> bytes:
    file = Writer(order)
    preview = [(254, LONG, 1), (262, SHORT, 6)]
    subs = [
        file.directory(file.sensor(7)),
        file.directory([*preview, *file.strip(small)]),
        file.directory([*preview, *file.strip(large)]),
        file.directory([(254, LONG, 4), (262, SHORT, 4), *file.strip(bytes(900), 8)]),
    ]
    make = made_by(b"Apple", b"iPhone 15 Pro", orientation)
    first = [*file.thumbnail(), *make, (330, LONG, subs), (50706, BYTE, [1, 4, 0, 0])]
    return file.done(file.directory(first))


def pef(large: bytes, small: bytes, orientation: int) -> bytes:
    file = Writer(">")
    third = file.directory([(259, SHORT, 6), *file.jpeg(large)])
    second = file.directory([(259, SHORT, 6), *file.jpeg(small)], third)
    first = file.sensor(65535) + made_by(b"RICOH IMAGING COMPANY, LTD.", b"PENTAX K-3", orientation)
    return file.done(file.directory(first, second))


def srw(large: bytes, small: bytes, orientation: int) -> bytes:
    file = Writer("<")
    subs = [file.directory(file.jpeg(large)), file.directory(file.sensor(32770))]
    first = [(254, LONG, 1), *made_by(b"SAMSUNG", b"NX500", orientation), *file.jpeg(small), (330, LONG, subs)]
    return file.done(file.directory(first))


def hasselblad(large: bytes, small: bytes, orientation: int) -> bytes:
    file = Writer("<")
    subs = [file.directory(file.sensor(7)), file.directory([(254, LONG, 1), (262, SHORT, 6), *file.strip(large)])]
    first = [*file.thumbnail(), *made_by(b"Hasselblad", b"X1D", orientation), (330, LONG, subs)]
    return file.done(file.directory(first))


def rw2(large: bytes, small: bytes, orientation: int) -> bytes:
    file = Writer("<", b"IIU\0", head=bytes(16))
    first = [(0x2E, UNDEFINED, large), (273, LONG, 0xFFFFFFFF), *made_by(b"Panasonic", b"DC-GH5", orientation)]
    return file.done(file.directory(first))


def orf(
    large: bytes, small: bytes, orientation: int, order: str = "<", new: bool = False, inline: bool = False
) -> bytes:
    """Offsets in the maker note count from its beginning; a preview lies behind it."""
    head = b"OM SYSTEM\0\0\0" + (b"II" if order == "<" else b"MM") + b"\x04\0" if new else b"OLYMPUS\0II\x03\0"
    head = head if order == "<" or new else b"OLYMPUS\0MM\x03\0"
    note = Writer(order)
    note.out = bytearray(head)
    settings_at = len(head) + 2 + 12 + 4
    settings = struct.pack(f"{order}H", 2)
    preview_at = settings_at + 2 + 24 + 4
    settings += struct.pack(f"{order}HHII", 0x101, LONG, 1, preview_at)
    settings += struct.pack(f"{order}HHII", 0x102, LONG, 1, len(large)) + bytes(4)
    tag = (UNDEFINED, len(settings)) if inline else (13, 1)
    note.out += struct.pack(f"{order}HHHII", 1, 0x2020, *tag, settings_at) + bytes(4) + settings + large
    file = Writer(order, b"IIRO" if order == "<" else b"MMOR")
    exif = file.directory([(37500, UNDEFINED, bytes(note.out))])
    make = made_by(b"OLYMPUS IMAGING CORP.", b"E-M1", orientation)
    return file.done(file.directory([*file.sensor(1, 1), *make, (34665, LONG, exif)]))


def raf(large: bytes, small: bytes, orientation: int) -> bytes:
    head = b"FUJIFILMCCD-RAW 0201FF389501" + b"X-T3".ljust(32, b"\0") + b"0100" + bytes(20)
    places = struct.pack(">IIIIII", 148, len(large), 148 + len(large), 100, 248 + len(large), len(SENSOR_DATA))
    return (head + places).ljust(148, b"\0") + large + bytes(100) + SENSOR_DATA


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def cr3(large: bytes, small: bytes, orientation: int) -> bytes:
    note = Writer("<")
    cmt1 = note.done(note.directory(made_by(b"Canon", b"Canon EOS R5", orientation)))
    header = box(
        b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48"), box(b"CNCV", bytes(30)), box(b"CMT1", cmt1)
    )

    def track(offset: int, length: int, coding: bytes) -> bytes:
        sample = box(b"CRAW", bytes(82), box(coding, bytes(4)))
        sizes = box(b"stsz", bytes(4), struct.pack(">II", length, 1))
        table = box(
            b"stbl",
            box(b"stsd", bytes(4), struct.pack(">I", 1), sample),
            sizes,
            box(b"co64", bytes(4), struct.pack(">IQ", 1, offset)),
        )
        return box(b"trak", box(b"tkhd", bytes(84)), box(b"mdia", box(b"mdhd", bytes(24)), box(b"minf", table)))

    start = box(b"ftyp", b"crx ", struct.pack(">I", 1), b"crx isom")
    prvw = box(b"PRVW", bytes(4), struct.pack(">HHHHI", 1, 1620, 1080, 1, len(small)), small)
    preview = box(b"uuid", bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16"), bytes(4), struct.pack(">I", 1), prvw)
    before = len(start) + len(box(b"moov", header, track(0, 0, b"JPEG"), track(0, 0, b"CMP1"))) + len(preview) + 16
    movie = box(
        b"moov", header, track(before, len(large), b"JPEG"), track(before + len(large), len(SENSOR_DATA), b"CMP1")
    )
    data = large + SENSOR_DATA
    return start + movie + preview + struct.pack(">I4sQ", 1, b"mdat", 16 + len(data)) + data


CAMERAS: dict[str, Callable[[bytes, bytes, int], bytes]] = {
    "NEF": nef,
    "NEF, little endian": lambda large, small, turn: nef(large, small, turn, "<"),
    "NEF, by its maker note": nikon_note,
    "NRW": nrw,
    "CR2": cr2,
    "ARW": arw,
    "DNG": dng,
    "DNG, big endian": lambda large, small, turn: dng(large, small, turn, ">"),
    "PEF": pef,
    "SRW": srw,
    "3FR": hasselblad,
    "RW2": rw2,
    "ORF": orf,
    "ORF, big endian": lambda large, small, turn: orf(large, small, turn, ">"),
    "ORF, OM SYSTEM": lambda large, small, turn: orf(large, small, turn, new=True),
    "ORF, settings inline": lambda large, small, turn: orf(large, small, turn, inline=True),
    "RAF": raf,
    "CR3": cr3,
}
