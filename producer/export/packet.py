"""XMP packets: a caption becomes `dc:description`, and every other byte of a packet that is there stays.

The text is spliced in at the offsets that the parser gives, so that nothing is written anew that was not understood.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from blipq.producer.export.sidecar import merged
from blipq.producer.export.stock import says

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_DC = "http://purl.org/dc/elements/1.1/"
_LANG = "http://www.w3.org/XML/1998/namespace lang"
PLAIN = "dc:description"
FILLING = b"\0 \t\r\n"
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
_TAIL = '</x:xmpmeta>\n<?xpacket end="w"?>\n'
_START = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
_END = re.compile(rb"</[^>]*>")
_DECLARATION = re.compile(r"\s*<\?xml\s[^>]*\?>")
# Properties, of whatever name space, that hold a person's words about a picture.
_WORDS = {
    *("description", "title", "headline", "caption", "captionabstract", "caption-abstract", "abstract", "notes"),
    *("imagedescription", "usercomment", "comment", "comments", "alttextaccessibility", "extdescraccessibility"),
}
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"))
_ENCODINGS = (*_BOMS, (codecs.BOM_UTF16_BE, "utf-16"), (b"", "utf-8-sig"))


class BadXmp(ValueError):
    """A packet that is there and that cannot be added to without harm."""


@dataclass
class _Found:
    """Byte offsets in the packet."""

    about: str = ""
    rdf_end: int | None = None  # of </rdf:RDF>
    description: tuple[int, int] | None = None  # dc:description
    alt_start: int | None = None  # behind <rdf:Alt>
    default: tuple[int, int] | None = None  # <rdf:li xml:lang="x-default">
    text: str = ""  # of that li
    others: str = ""  # in other languages, or not in a li
    several: bool = False  # more than one dc:description
    attribute: bool = False  # the description is an attribute
    elsewhere: str | None = None  # where words stand that are no dc:description as XMP has it


def described(packet: bytes | None, caption: str, existing: str) -> bytes | None:
    """A packet with the caption as its x-default description; None where it stays as it is.

    `existing` (skip, replace, append) says what becomes of a description that is there. Raises BadXmp.
    """
    if packet is None or not packet.strip(FILLING):
        return f"{_HEAD}{_rdf(_description('', _FORBIDDEN.sub(' ', caption)))}{_TAIL}".encode()
    text = _decoded(packet)
    found = _read(text)
    if existing == "skip" and (found.text or found.others or found.elsewhere):
        return None
    if found.several:
        raise BadXmp("its XMP holds several descriptions")
    if found.attribute:
        raise BadXmp("its XMP holds the description as an attribute, which no standard knows")
    there = found.text or (found.others if existing == "append" and found.alt_start is None else "")
    wanted = merged(there, _FORBIDDEN.sub(" ", caption), existing)
    return None if wanted is None else _spliced(text, found, wanted)


def description(packet: bytes) -> str | None:
    """The x-default description in a packet. Raises BadXmp."""
    return _read(_decoded(packet)).text or None


def words_there(packet: bytes) -> str | None:
    """Where a packet holds words of a person's: the description itself first. Raises BadXmp."""
    found = _read(_decoded(packet))
    return PLAIN if found.text or found.others else found.elsewhere


def other_words(packet: bytes) -> str | None:
    """Where a packet holds words of a person's that are no dc:description as XMP has it. Raises BadXmp."""
    found = _read(_decoded(packet))
    return found.elsewhere or (PLAIN if found.others and not found.text else None)


def _spliced(text: bytes, found: _Found, wanted: str) -> bytes:
    if found.default is not None:
        start, end = found.default
        opening = _START.match(text, start)
        assert opening is not None
        tag = opening[0] if not opening[0].endswith(b"/>") else opening[0][:-2] + b">"
        name = re.split(rb"[\s>]", tag[1:], maxsplit=1)[0]
        return text[:start] + tag + escape(wanted).encode() + b"</" + name + b">" + text[end:]
    if found.description is not None:
        start, end = found.description
        if found.alt_start is not None:
            return text[: found.alt_start] + _item(wanted).encode() + text[found.alt_start :]
        return text[:start] + _element(wanted).encode() + text[end:]
    if found.rdf_end is None:
        raise BadXmp("its XMP has no rdf:RDF to add to")
    return text[: found.rdf_end] + _description(found.about, wanted).encode() + text[found.rdf_end :]


def _read(text: bytes) -> _Found:
    found = _Found()
    parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
    parser.buffer_text = True
    path: list[str] = []
    starts: list[int] = []
    lang: list[str] = [""]

    def start(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        starts.append(parser.CurrentByteIndex)
        if path[-2:] == [f"{_RDF} RDF", f"{_RDF} Description"] and not found.about:
            found.about = attributes.get(f"{_RDF} about", "")
        _note_attributes(found, path, attributes)
        if _inside(path) and name == f"{_RDF} Alt":
            opening = _START.match(text, parser.CurrentByteIndex)
            found.alt_start = opening.end() if opening and not opening[0].endswith(b"/>") else None
        if _inside(path) and name == f"{_RDF} li":
            lang[0] = attributes.get(_LANG, "x-default")

    def end(name: str) -> None:
        at, began = parser.CurrentByteIndex, starts.pop()
        if name == f"{_RDF} RDF" and text.startswith(b"</", at):
            found.rdf_end = at
        if name == f"{_DC} description" and _under(path[:-1], "Description"):
            found.several = found.several or found.description is not None
            found.description = (began, _behind(text, began, at))
        if _inside(path) and name == f"{_RDF} li" and lang[0] == "x-default":
            found.several = found.several or found.default is not None
            found.default = (began, _behind(text, began, at))
        path.pop()

    def characters(data: str) -> None:
        if _inside(path) and path[-1] == f"{_RDF} li" and lang[0] == "x-default":
            found.text += data
        elif (
            _inside(path) or (_under(path[:-1], "Description") and path[-1] == f"{_DC} description")
        ) and data.strip():
            found.others += data
        else:
            _note(found, path, data)

    def refuse(*_: Any) -> None:
        raise BadXmp("its XMP declares a document type, which no XMP does")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = characters, refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise BadXmp(f"its XMP cannot be read: {error}") from None
    return found


def _note_attributes(found: _Found, path: list[str], attributes: dict[str, str]) -> None:
    """Words in the attributes of the picture's node, and of its description, which has none but its form."""
    for name, value in attributes.items():
        if len(path) > 1 and path[-2] == f"{_RDF} RDF":
            found.attribute = found.attribute or name == f"{_DC} description"
            _note(found, [*path[-2:], name], value)
        elif path[-1] == f"{_DC} description" and name not in (_LANG, f"{_RDF} parseType"):
            _note(found, path, value)


def _note(found: _Found, path: list[str], text: str) -> None:
    """Note text that stands where programs put a person's words, as a property of any node."""
    rdf = path.index(f"{_RDF} RDF") if f"{_RDF} RDF" in path else None
    within = path if rdf is None else path[rdf + 2 : rdf + 3]
    named = [name.rpartition(" ")[2] for name in within if rdf is not None or name == f"{_DC} description"]
    if any(name.lower() in _WORDS for name in named) and says(text.encode()):
        found.elsewhere = f"XMP {named[0]}"


def _under(path: list[str], name: str) -> bool:
    return path[-2:] == [f"{_RDF} RDF", f"{_RDF} {name}"]


def _inside(path: list[str]) -> bool:
    """Whether the path leads through the description of the picture itself, not of a part of it."""
    return any(
        path[at : at + 3] == [f"{_RDF} RDF", f"{_RDF} Description", f"{_DC} description"] for at in range(len(path) - 3)
    )


def _behind(text: bytes, began: int, at: int) -> int:
    """The offset behind an element that began at one and whose end is seen at another."""
    opening = _START.match(text, began)
    assert opening is not None
    if opening[0].endswith(b"/>"):  # its end is seen behind it, where another element's may stand
        return opening.end()
    ending = _END.match(text, at)
    assert ending is not None
    return ending.end()


def _decoded(packet: bytes) -> bytes:
    """The packet in UTF-8, without byte order mark, XML declaration and filling."""
    encoding = next(name for bom, name in _ENCODINGS if packet.startswith(bom))
    try:
        text = packet.decode(encoding).strip("\0")
    except UnicodeDecodeError:
        raise BadXmp("its XMP is no Unicode") from None
    return _DECLARATION.sub("", text, count=1).encode()


def _item(text: str) -> str:
    return f'<rdf:li xmlns:rdf="{_RDF}" xml:lang="x-default">{escape(text)}</rdf:li>'


def _element(text: str) -> str:
    return (
        f'<dc:description xmlns:dc="{_DC}" xmlns:rdf="{_RDF}">'
        f'<rdf:Alt><rdf:li xml:lang="x-default">{escape(text)}</rdf:li></rdf:Alt></dc:description>'
    )


def _description(about: str, text: str) -> str:
    return f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={quoteattr(about)}>{_element(text)}</rdf:Description>\n'


def _rdf(inside: str) -> str:
    return f'<rdf:RDF xmlns:rdf="{_RDF}">\n{inside}</rdf:RDF>\n'
