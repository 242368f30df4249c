"""Captions in JPEGs that hold several pictures, as phones write them: each is found as before, byte for byte."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blipq.models.selection import Selection
from blipq.producer.export.order import Order, export
from blipq.settings import Settings
from blipq.worker.engine.identity import identify

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(not EXIFTOOL, reason="there is no exiftool: apt install libimage-exiftool-perl")
EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
)


def by_pillow(**options: Any) -> bytes:
    """Three pictures; Pillow writes an index of little-endian numbers, and XMP behind it."""
    made = io.BytesIO()
    first, *others = (Image.effect_noise((96, 64), 60 + n).convert("RGB") for n in range(3))
    first.save(made, "MPO", save_all=True, append_images=others, **options)
    return made.getvalue()


def by_hand(exif: bytes = EXIF, told: int | None = None) -> bytes:
    """Two pictures, big-endian numbers, XMP before the index, and a film behind all; `told`: the first one's size."""
    pictures = []
    for shade in (40, 80):
        saved = io.BytesIO()
        Image.effect_noise((96, 64), shade).save(saved, "JPEG")
        pictures.append(saved.getvalue())
    first, second = pictures
    notes = b"http://ns.adobe.com/xap/1.0/\0" + XMP
    before = first[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in (exif, notes))
    length = len(before) + 4 + 4 + 8 + 2 + 3 * 12 + 4 + 32 + len(first) - 2
    header = b"MM\0*" + struct.pack(">IHHHI", 8, 3, 0xB000, 7, 4) + b"0100"
    header += struct.pack(">HHII", 0xB001, 4, 1, 2) + struct.pack(">HHIII", 0xB002, 7, 32, 50, 0)
    entries = struct.pack(">IIIHH", 0x030000, length if told is None else told, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0x000000, len(second), length - len(before) - 8, 0, 0)
    body = b"MPF\0" + header + entries
    made = before + b"\xff\xe2" + struct.pack(">H", len(body) + 2) + body + first[2:]
    assert len(made) == length
    return made + second + b"a film"


def described(library: Any, data: bytes, text: str, existing: str = "skip") -> tuple[Path, Any]:
    """Such a photo with its caption written into it, and what came of that."""
    path = library.folder / "many.jpg"
    if not path.exists():
        path.write_bytes(data)
        library.caption(os.fsencode(path), text)
    else:
        with library.ledger.write() as connection:
            connection.exec_driver_sql("UPDATE caption SET text = ?", (text,))
    return path, export(library.ledger, Settings(), Order("metadata", Selection(), None, existing=existing))


def asked(path: Path, *words: str) -> bytes:
    assert EXIFTOOL
    return subprocess.run([EXIFTOOL, *words, path], capture_output=True, check=True).stdout


def places(path: Path) -> list[slice]:
    """Where exiftool finds each picture, the first one first."""
    [found] = json.loads(asked(path, "-json", "-G1", "-n", "-MPImageStart", "-MPImageLength"))
    listed = [name for name in found if name.endswith(":MPImageStart")]
    pairs = [(found[name], found[name.replace("Start", "Length")]) for name in listed]
    return [slice(start, start + length) for start, length in pairs]


@needs_exiftool
@pytest.mark.parametrize(
    "data",
    [by_pillow(), by_pillow(exif=EXIF), by_pillow(exif=EXIF, xmp=XMP), by_hand()],
    ids=["plain", "exif", "xmp-behind-the-index", "xmp-before-it"],
)
def test_every_picture_is_found_where_the_index_says(library: Any, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "before.jpg").write_bytes(data)
    second = asked(tmp_path / "before.jpg", "-MPImage2", "-b")
    further = [data[place] for place in places(tmp_path / "before.jpg")[1:]]
    assert second == further[0] != b""
    assert len(further) == data.count(b"\xff\xd8\xff") - 1
    # When captions of several lengths are written, the first beside what is there and the others over it
    for number, text in enumerate(("a dog", "a dog " * 3000, "a cat")):
        path, outcome = described(library, data, text, "replace" if number else "skip")
        assert (outcome.written, outcome.reasons) == (1, [])
        after = path.read_bytes()
        # Then exiftool reads the caption, and each further picture byte for byte
        assert asked(path, "-s3", "-XMP-dc:Description").decode().strip() == text.strip()
        assert asked(path, "-MPImage2", "-b") == second
        first, *others = places(path)
        assert [after[place] for place in others] == further
        assert b"Warning" not in asked(path, "-Warning")
        # And the first picture is as long as it is said to be
        assert (first.start, first.stop) == (0, after.index(second))
        assert identify(after) == identify(data)
    if b"Rating" in data:
        assert asked(path, "-s3", "-Rating").strip() == b"4"
    assert after.endswith(data[-1000:])


@needs_exiftool
def test_a_first_picture_without_a_size_keeps_none(library: Any) -> None:
    path, outcome = described(library, by_hand(told=0), "a dog")
    assert outcome.written == 1
    assert places(path)[0] == slice(0, 0)


def test_what_would_be_lost_is_refused(library: Any) -> None:
    whole = by_hand()
    second = whole.rindex(b"\xff\xd8\xff")
    preview = struct.pack(">I", second + 106 - whole.index(b"MM\0*"))  # as Sony's notes say it
    for data, says in (
        (whole[:second], "leads nowhere"),
        (whole[:second] + b"\0\0" + whole[second + 2 :], "leads nowhere"),
        (by_hand(EXIF[:-4] + preview), "camera's notes"),
        (whole.replace(b"\xb0\x02", b"\xb0\x03"), "is broken"),
    ):
        path = library.folder / "many.jpg"
        path.write_bytes(data)
        with library.ledger.write() as connection:
            for table in ("caption", "file", "image"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
        library.caption(os.fsencode(path), "a dog")
        outcome = export(library.ledger, Settings(), Order("metadata", Selection(), None, existing="skip"))
        assert says in outcome.reasons[0][1]
        assert path.read_bytes() == data
