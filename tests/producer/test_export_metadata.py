"""Captions in XMP sidecars and in photos: read back by exiftool, and never at a picture's cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from blipq.models.intake import Found
from blipq.models.selection import Selection
from blipq.producer.export.container import packet_of, picture_of, put_together, take_apart
from blipq.producer.export.order import Order, export
from blipq.producer.export.packet import BadXmp, described, description
from blipq.producer.export.part import NoPlace
from blipq.producer.scan import look
from blipq.settings import Settings
from blipq.worker.engine.identity import identify

EXIFTOOL = shutil.which("exiftool")
needs_exiftool = pytest.mark.skipif(not EXIFTOOL, reason="there is no exiftool: apt install libimage-exiftool-perl")
TEXT = 'a dog & a "cat" <é> — 犬'
LIGHTROOM = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="uuid:1" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure="+0.35"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" xmlns:dc="http://purl.org/dc/elements/1.1/">
   <!-- a comment -->%s
   <crs:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li><rdf:li>255,&#10;255</rdf:li></rdf:Seq></crs:ToneCurve>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
HAS_ONE = (
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">%s</rdf:li>'
    '<rdf:li xml:lang="de">ein Hund</rdf:li></rdf:Alt></dc:description>'
)


def write(library: Any, to: str, into: Path | None = None, existing: str = "skip") -> Any:
    return export(library.ledger, Settings(), Order(to, Selection(), into, existing=existing))


def tags(*paths: bytes | Path) -> list[dict[str, Any]]:
    assert EXIFTOOL
    done = subprocess.run([EXIFTOOL, "-json", "-n", "-a", *paths], capture_output=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


# Packets.


@pytest.mark.parametrize("there", [None, b"", b"\0\0", LIGHTROOM % "", LIGHTROOM % (HAS_ONE % "old")])
def test_a_caption_becomes_the_default_description(there: str | bytes | None) -> None:
    packet = there.encode() if isinstance(there, str) else there
    made = described(packet, TEXT, "replace")
    assert made
    assert description(made) == TEXT
    assert described(made, TEXT, "replace") is None  # and once is enough


def test_every_byte_around_a_description_stays() -> None:
    before = LIGHTROOM % (HAS_ONE % "old")
    made = described(before.encode(), "new", "replace")
    assert made
    assert made.decode().lstrip("\ufeff") == before.replace(">old<", ">new<")
    added = described((LIGHTROOM % "").encode(), "new", "skip")
    assert added
    head, tail = (LIGHTROOM % "").split(" </rdf:RDF>")
    assert added.decode().startswith(head)
    assert added.decode().endswith("</rdf:RDF>" + tail)
    assert 'rdf:about="uuid:1"' in added.decode().removeprefix(head)


@pytest.mark.parametrize(("existing", "after"), [("skip", None), ("replace", "new"), ("append", "old, new")])
def test_a_description_that_is_there_is_kept_replaced_or_added_to(existing: str, after: str | None) -> None:
    made = described((LIGHTROOM % (HAS_ONE % "old")).encode(), "new", existing)
    assert (description(made) if made else None) == after


def test_a_description_in_another_language_alone_is_kept_beside_ours() -> None:
    packet = LIGHTROOM % '<dc:description><rdf:Alt><rdf:li xml:lang="de">Hund</rdf:li></rdf:Alt></dc:description>'
    assert described(packet.encode(), "dog", "skip") is None
    made = described(packet.encode(), "dog", "replace")
    assert made
    assert description(made) == "dog"
    assert b"Hund" in made


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-8-sig"])
def test_packets_in_other_encodings_are_read(encoding: str) -> None:
    text = LIGHTROOM % (HAS_ONE % "ol\xe9")
    packet = text.encode(encoding) if encoding != "utf-16-be" else ("\ufeff" + text).encode(encoding)
    assert description(packet) == "ol\xe9"


@pytest.mark.parametrize(
    "packet",
    [
        b"no xml",
        b"<a/>",
        b"\xff\xfe\x00",
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + (LIGHTROOM % "").encode(),
        (LIGHTROOM % "").replace("xmp:Rating", 'dc:description="x" xmp:Rating').encode(),
    ],
)
def test_a_packet_that_could_be_harmed_is_refused(packet: bytes) -> None:
    with pytest.raises(BadXmp):
        described(packet, "x", "replace")


# Sidecars.


@needs_exiftool
def test_xmp_sidecars_have_both_names_and_are_read_by_exiftool(library: Any, tmp_path: Path) -> None:
    library.caption(library.photo("a/1.jpg"), TEXT)
    library.caption(library.photo("a/1.png"), "the other")
    library.caption(library.photo("b/1.jpg"), "the third")
    assert write(library, "xmp", tmp_path / "out").written == 3
    names = {path.name: path for path in (tmp_path / "out/a").iterdir()}
    assert set(names) == {"1.xmp", "1.jpg.xmp", "1.png.xmp"}
    said = {Path(row["SourceFile"]).name: row["Description"] for row in tags(*names.values())}
    assert said == {"1.xmp": TEXT, "1.jpg.xmp": TEXT, "1.png.xmp": "the other"}


@needs_exiftool
def test_ratings_and_development_settings_survive_in_a_sidecar(library: Any) -> None:
    library.caption(library.photo("1.jpg"), TEXT)
    (library.folder / "1.xmp").write_text(LIGHTROOM % "", encoding="utf-8")
    write(library, "xmp")
    [row] = tags(library.folder / "1.xmp")
    assert (row["Description"], row["Rating"], row["Exposure"]) == (TEXT, 4, "+0.35")


# The photos' own metadata.


def saved(library: Any, name: str, **options: Any) -> bytes:
    path: bytes = library.photo(name, (64, 48), **options)
    return path


@needs_exiftool
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.jpg", {}),
        ("progressive.jpg", {"progressive": True}),
        (
            "notes.jpg",
            {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", "comment": "c"},
        ),
        ("has.jpg", {"xmp": (LIGHTROOM % "").encode()}),
        ("plain.png", {}),
        ("plain.webp", {}),
        ("lossless.webp", {"lossless": True}),
        ("has.webp", {"xmp": (LIGHTROOM % "").encode(), "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
    ],
)
def test_a_photo_keeps_pixels_notes_times_and_identity(library: Any, name: str, options: dict[str, Any]) -> None:
    # Given a photo with a mode and a time of its own
    path = saved(library, name, **options)
    os.chmod(path, 0o640)
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_987_654_321))
    library.caption(path, TEXT)
    with open(path, "rb") as opened:
        before = opened.read()
    [old] = tags(path)
    # When its caption is written into it
    outcome = write(library, "metadata", existing="replace")
    # Then exiftool finds it, and all else is as before
    assert (outcome.written, outcome.reasons) == (1, [])
    with open(path, "rb") as opened:
        after = opened.read()
    [new] = tags(path)
    assert new["Description"] == TEXT
    assert "Warning" not in new
    kept = {"Rating", "Orientation", "Comment", "Exposure", "ImageSize", "JFIFVersion"}
    assert {tag: old[tag] for tag in kept & set(old)} == {tag: new.get(tag) for tag in kept & set(old)}
    with Image.open(os.fsdecode(path)) as picture:
        pixels = picture.convert("RGBA").tobytes()
    assert (os.stat(path).st_mode & 0o777, os.stat(path).st_mtime_ns) == (0o640, 1_600_000_000_987_654_321)
    Path(os.fsdecode(path)).write_bytes(before)
    with Image.open(os.fsdecode(path)) as picture:
        assert pixels == picture.convert("RGBA").tobytes()
    assert identify(before) == identify(after)
    assert not [entry for entry in library.folder.iterdir() if entry.name.startswith(".")]


def test_writing_into_photos_makes_nothing_new_to_caption(library: Any) -> None:
    paths = [saved(library, name) for name in ("a.jpg", "b.png", "c.webp")]
    for path in paths:
        os.chmod(path, 0o640)
        library.caption(path, "a dog")
    times = [os.stat(path).st_mtime_ns for path in paths]
    assert write(library, "metadata").written == 3
    found = [look(path) for path in paths]
    with library.ledger.read() as connection:
        rows = dict(connection.exec_driver_sql("SELECT path, size FROM file").all())
    for path, seen, at in zip(paths, found, times, strict=True):
        assert isinstance(seen, Found)
        assert (rows[seen.path], at) == (seen.size, seen.mtime_ns)
        assert os.stat(path).st_mode & 0o777 == 0o640
    again = write(library, "metadata")
    assert (again.written, again.kept) == (0, 3)


def test_a_file_that_changed_since_is_not_touched(library: Any) -> None:
    path = saved(library, "a.jpg")
    library.caption(path, "a dog")
    other = saved(library, "other.jpg", quality=10)
    os.replace(other, path)
    outcome = write(library, "metadata")
    assert (outcome.written, outcome.failed) == (0, 1)
    assert "changed since" in outcome.reasons[0][1]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"GIF89a", "JPEG, PNG and WebP"),
        (b"\xff\xd8\xff\xe2\x00\x08MPF\0MM\xff\xda\0\2\xff\xd9", "several pictures is broken"),
        (b"\xff\xd8\xff\xe0\xff\xff", "broken"),
        (b"\x89PNG\r\n\x1a\n\0\0\xff\xffIHDR", "broken"),
        (b"RIFF\xff\xff\0\0WEBPVP8 ", "broken"),
        (b"", "JPEG, PNG and WebP"),
    ],
)
def test_files_that_could_be_harmed_are_left_alone(library: Any, data: bytes, says: str) -> None:
    path = saved(library, "a.jpg")
    Path(os.fsdecode(path)).write_bytes(data)
    library.caption(path, "a dog")
    outcome = write(library, "metadata")
    assert says in outcome.reasons[0][1]
    assert Path(os.fsdecode(path)).read_bytes() == data


def test_a_packet_too_long_for_a_jpeg_is_refused(library: Any) -> None:
    library.caption(saved(library, "a.jpg"), "a dog " * 20_000)
    assert "65,5" in write(library, "metadata").reasons[0][1]


def test_compressed_packets_in_png_are_read_and_bombs_are_not(library: Any) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)

    with open(saved(library, "a.png"), "rb") as opened:
        png = opened.read()
    for packet, there in (((LIGHTROOM % (HAS_ONE % "old")).encode(), True), (b"x" * 20_000_000, False)):
        note = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))
        data = png[:33] + note + png[33:]
        if not there:
            with pytest.raises(NoPlace, match="unfolds"):
                take_apart(data)
            continue
        parts = take_apart(data)
        found = packet_of(parts)
        assert found
        assert description(found) == "old"
        made = put_together(parts, b"<new/>")
        assert picture_of(take_apart(made)) == picture_of(parts)
        assert made == png[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<new/>") + png[33:]


@pytest.fixture
def nasty(shared_data: Path) -> Iterator[bytes]:
    return (
        path.read_bytes()
        for path in sorted((shared_data / "nasty" / "files").rglob("*"))
        if path.is_file() and path.stat().st_size < 10_000_000
    )


def test_odd_pictures_are_taken_apart_without_loss_or_refused(nasty: Iterator[bytes]) -> None:
    taken = 0
    for data in nasty:
        try:
            parts = take_apart(data)
            packet = described(packet_of(parts), TEXT, "replace")
            assert packet
            made = put_together(parts, packet)
        except (NoPlace, BadXmp):
            continue
        taken += 1
        assert b"".join(part.data for part in parts) == data
        assert picture_of(take_apart(made)) == picture_of(parts)
        assert packet_of(take_apart(made)) == packet
        assert identify(made) == identify(data)
    assert taken > 10
