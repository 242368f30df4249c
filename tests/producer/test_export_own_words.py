"""A person's words in a picture or beside it keep a caption out, wherever and in whatever shape they stand."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from blipq.models.selection import Selection
from blipq.producer.export.container import put_together, take_apart
from blipq.producer.export.order import Order, export
from blipq.producer.export.own_words import own_words
from blipq.producer.export.packet import description
from blipq.settings import Settings

WORDS = "Our boat on the lake"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'


def packet(inside: str, attributes: str = "", node: str = "rdf:Description") -> str:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><{node} rdf:about="" {DC} {attributes}>'
        f"{inside}</{node}></rdf:RDF></x:xmpmeta>"
    )


# What people and their programs write: all of it valid XML, most of it valid XMP.
XMP = {
    "plain": packet(f"<dc:description>{WORDS}</dc:description>"),
    "alternatives": packet(f"<dc:description><rdf:Alt><rdf:li>{WORDS}</rdf:li></rdf:Alt></dc:description>"),
    "another language": packet(
        f'<dc:description><rdf:Alt><rdf:li xml:lang="de">{WORDS}</rdf:li></rdf:Alt></dc:description>'
    ),
    "a bag": packet(f"<dc:description><rdf:Bag><rdf:li>{WORDS}</rdf:li></rdf:Bag></dc:description>"),
    "a value": packet(f'<dc:description rdf:parseType="Resource"><rdf:value>{WORDS}</rdf:value></dc:description>'),
    "a resource": packet(f'<dc:description rdf:resource="{WORDS}"/>'),
    "an attribute": packet("", f'dc:description="{WORDS}"'),
    "another prefix": packet(f'<e:description xmlns:e="http://purl.org/dc/elements/1.1/">{WORDS}</e:description>'),
    "another name space": packet(f'<o:description xmlns:o="urn:o">{WORDS}</o:description>'),
    "another node": packet(f"<dc:description>{WORDS}</dc:description>", 'xmlns:o="urn:o"', "o:Image"),
    "no node": f'<x:xmpmeta xmlns:x="adobe:ns:meta/" {DC}><dc:description>{WORDS}</dc:description></x:xmpmeta>',
    "several nodes": packet(f"<dc:description>{WORDS}</dc:description>").replace(
        "<rdf:Description", '<rdf:Description rdf:about=""/><rdf:Description', 1
    ),
    "a headline": packet("", f'xmlns:p="http://ns.adobe.com/photoshop/1.0/" p:Headline="{WORDS}"'),
    "a title": packet(f"<dc:title><rdf:Alt><rdf:li>{WORDS}</rdf:li></rdf:Alt></dc:title>"),
    "tiff": packet(f'<t:ImageDescription xmlns:t="http://ns.adobe.com/tiff/1.0/">{WORDS}</t:ImageDescription>'),
    "exif": packet(
        f'<e:UserComment xmlns:e="http://ns.adobe.com/exif/1.0/"><rdf:Alt><rdf:li>{WORDS}</rdf:li></rdf:Alt></e:UserComment>'
    ),
    "iptc": packet(f'<i:AltTextAccessibility xmlns:i="urn:iptc">{WORDS}</i:AltTextAccessibility>'),
}
NO_WORDS = {
    "tags": packet(f"<dc:subject><rdf:Bag><rdf:li>{WORDS}</rdf:li></rdf:Bag></dc:subject>"),
    "an empty description": packet("<dc:description><rdf:Alt><rdf:li/></rdf:Alt></dc:description>"),
    "a rating": packet("", 'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"'),
    "a camera's": packet(
        '<t:ImageDescription xmlns:t="http://ns.adobe.com/tiff/1.0/">OLYMPUS DIGITAL CAMERA</t:ImageDescription>'
    ),
}


def run(library: Any, to: str, existing: str = "skip") -> Any:
    return export(library.ledger, Settings(), Order(to, Selection(), existing=existing))


@pytest.mark.parametrize("shape", XMP)
@pytest.mark.parametrize("name", ["a.jpg.xmp", "a.xmp"])
def test_words_in_a_sidecar_keep_the_caption_out_of_both(library: Any, shape: str, name: str) -> None:
    library.caption(library.photo("a.jpg"), "a dog")
    (library.folder / name).write_text(XMP[shape])
    outcome = run(library, "xmp")
    assert (outcome.written, outcome.kept, outcome.failed) == (0, 1, 0)
    assert (library.folder / name).read_text() == XMP[shape]
    assert sorted(path.name for path in library.folder.iterdir()) == sorted(["a.jpg", name])


@pytest.mark.parametrize("shape", XMP)
def test_words_in_a_photos_xmp_keep_the_caption_out_of_it(library: Any, shape: str) -> None:
    path = library.photo("a.jpg", xmp=XMP[shape].encode())
    before = Path(os.fsdecode(path)).read_bytes()
    library.caption(path, "a dog")
    outcome = run(library, "metadata")
    assert (outcome.written, outcome.kept) == (0, 1)
    assert Path(os.fsdecode(path)).read_bytes() == before


@pytest.mark.parametrize("shape", NO_WORDS)
def test_what_says_nothing_of_the_picture_keeps_no_caption_out(library: Any, shape: str) -> None:
    library.caption(library.photo("a.jpg", xmp=NO_WORDS[shape].encode()), "a dog")
    (library.folder / "a.xmp").write_text(NO_WORDS[shape])
    assert (run(library, "metadata").written, run(library, "xmp").written) == (1, 1)
    assert description((library.folder / "a.xmp").read_bytes()) == "a dog"


@pytest.mark.parametrize("shape", sorted(XMP.keys() - {"an attribute", "no node"}))
def test_replacing_changes_the_description_and_nothing_else(library: Any, shape: str) -> None:
    library.caption(library.photo("a.jpg"), "a dog")
    (library.folder / "a.xmp").write_text(XMP[shape])
    assert run(library, "xmp", "replace").written == 1
    made = (library.folder / "a.xmp").read_bytes()
    assert description(made) == "a dog"
    replaced = {"plain", "alternatives", "a bag", "a value", "a resource", "another prefix", "several nodes"}
    assert (WORDS.encode() in made) == (shape not in replaced)


def test_a_sidecar_of_ours_is_no_persons(library: Any) -> None:
    library.caption(library.photo("a.jpg"), "a dog")
    assert run(library, "xmp").written == 1
    (library.folder / "a.xmp").unlink()
    assert (run(library, "xmp").written, run(library, "xmp").kept) == (1, 1)


def _exif(tag: int, value: Any, ifd: int | None = None) -> bytes:
    exif = Image.Exif()
    (exif if ifd is None else exif.get_ifd(ifd))[tag] = value
    return exif.tobytes()


def _iptc(dataset: int) -> bytes:
    data = b"\x1c\x02" + bytes([dataset]) + len(WORDS).to_bytes(2) + WORDS.encode()
    resource = b"8BIM\x04\x04\0\0" + len(data).to_bytes(4) + data
    body = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + (len(body) + 2).to_bytes(2) + body


def _halves(segment: bytes) -> bytes:
    """A resource cut in two, as programs cut those of more than 64 kB."""
    head, body = segment[:2], segment[18:]
    parts = [b"Photoshop 3.0\0" + body[:20], b"Photoshop 3.0\0" + body[20:]]
    return b"".join(head + (len(part) + 2).to_bytes(2) + part for part in parts)


def _extended(*, parts: int) -> bytes:
    whole = (" " * 100 + XMP["plain"]).encode()
    size = -(-len(whole) // parts)
    segments = b""
    for at in reversed(range(0, len(whole), size)):  # in any order
        head = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + len(whole).to_bytes(4) + at.to_bytes(4)
        body = head + whole[at : at + size]
        segments += b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body
    return segments


def picture(kind: str, **options: Any) -> bytes:
    held = BytesIO()
    Image.new("RGB", (32, 24), "red").save(held, kind, **options)
    return held.getvalue()


def _jpeg(segment: bytes) -> bytes:
    plain = picture("JPEG")
    return plain[:2] + segment + plain[2:]


def _png(keyword: str, *, packed: bool = False, international: bool = False) -> bytes:
    notes = PngImagePlugin.PngInfo()
    (notes.add_itxt if international else notes.add_text)(keyword, WORDS, zip=packed)
    return picture("PNG", pnginfo=notes)


def _profile(name: bytes, data: bytes) -> bytes:
    text = b"\n" + name + b"\n%8d\n" % len(data) + data.hex().encode() + b"\n"
    body = b"zTXt" + b"Raw profile type " + name + b"\0\0" + zlib.compress(text)
    plain = picture("PNG")
    return plain[:33] + (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4) + plain[33:]


FILES: dict[str, Callable[[], bytes]] = {
    "ImageDescription": lambda: picture("JPEG", exif=_exif(0x010E, WORDS)),
    "XPComment": lambda: picture("JPEG", exif=_exif(0x9C9C, WORDS.encode("utf-16-le"))),
    "XPTitle": lambda: picture("JPEG", exif=_exif(0x9C9B, WORDS.encode("utf-16-le"))),
    "UserComment": lambda: picture("JPEG", exif=_exif(0x9286, b"ASCII\0\0\0" + WORDS.encode(), 0x8769)),
    "UserComment in UTF-16": lambda: picture(
        "JPEG", exif=_exif(0x9286, b"UNICODE\0" + WORDS.encode("utf-16-le"), 0x8769)
    ),
    "broken Exif": lambda: picture("JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff\0\0"),
    "Exif in PNG": lambda: picture("PNG", exif=_exif(0x010E, WORDS)),
    "Exif in WebP": lambda: picture("WEBP", exif=_exif(0x010E, WORDS)),
    "IPTC caption": lambda: _jpeg(_iptc(120)),
    "IPTC headline": lambda: _jpeg(_iptc(105)),
    "IPTC in two segments": lambda: _jpeg(_halves(_iptc(120))),
    "JPEG comment": lambda: picture("JPEG", comment=WORDS),
    "extended XMP": lambda: _jpeg(_extended(parts=1)),
    "extended XMP in parts": lambda: _jpeg(_extended(parts=3)),
    "PNG Description": lambda: _png("Description"),
    "PNG Comment": lambda: _png("comment", packed=True),
    "PNG Title": lambda: _png("Title", international=True),
    "PNG caption, compressed": lambda: _png("Caption", international=True, packed=True),
    "PNG profile of IPTC": lambda: _profile(b"iptc", _iptc(120)[18:]),
    "PNG profile of Exif": lambda: _profile(b"exif", _exif(0x010E, WORDS)),
    "PNG profile of XMP": lambda: _profile(b"xmp", XMP["plain"].encode()),
    "PNG profile that is none": lambda: _profile(b"iptc", b"")[:-40] + picture("PNG")[-40:],
}


@pytest.mark.parametrize("what", FILES)
def test_words_in_a_photo_keep_the_caption_out_and_are_named(library: Any, what: str) -> None:
    data = FILES[what]()
    suffix = "png" if data.startswith(b"\x89PNG") else "webp" if data.startswith(b"RIFF") else "jpg"
    path = library.photo(f"a.{suffix}")
    Path(os.fsdecode(path)).write_bytes(data)
    library.caption(path, "a dog")
    outcome = run(library, "metadata")
    assert outcome.written == 0
    assert len(outcome.reasons) == 1
    assert Path(os.fsdecode(path)).read_bytes() == data
    if outcome.kept:  # what is asked for is done, and all but the XMP stays
        assert run(library, "metadata", "replace").written == 1


@pytest.mark.parametrize(
    "data",
    [
        picture("JPEG", exif=_exif(0x010E, "OLYMPUS DIGITAL CAMERA         ")),
        picture("JPEG", exif=_exif(0x010E, "DCIM\\100MEDIA\\DJI_0001.JPG")),
        picture("JPEG", exif=_exif(0x9286, b"ASCII\0\0\0" + b" " * 20, 0x8769)),
        picture("JPEG", exif=_exif(0x0110, "Pixel 8")),
        picture("JPEG", comment="CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n"),
        _png("Software"),
    ],
)
def test_what_cameras_write_into_every_file_is_nobodys_words(data: bytes) -> None:
    assert own_words(take_apart(data)) is None


@pytest.mark.parametrize("words", ["Sony on the sofa", "Default by nobody", "Digital cameras of my father", "dcim"])
def test_words_that_begin_like_a_cameras_are_a_persons(words: str) -> None:
    assert own_words(take_apart(picture("JPEG", exif=_exif(0x010E, words)))) is not None


@given(words=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip))
def test_our_own_writing_is_no_hindrance_whatever_it_says(words: str) -> None:
    from blipq.producer.export.packet import described

    made = described(None, words, "skip")
    assert made is not None
    assert own_words(take_apart(put_together(take_apart(picture("JPEG")), made))) is None


def test_the_command_says_where_the_words_are(library: Any, blipq: Any) -> None:
    path = library.photo("a.jpg", comment=WORDS)
    library.caption(path, "a dog")
    done = blipq("export", "--to", "metadata", "--write-metadata", "--json")
    assert done.returncode == 0
    assert "a JPEG comment" in done.stderr
    [reason] = json.loads(done.stdout)["reasons"]
    assert reason["path"] == os.fsdecode(path)
