"""XMP sidecars under both names in use: `photo.xmp` (Adobe's) and `photo.jpg.xmp` (darktable's, digiKam's)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from blipq.models.selection import Photo
from blipq.producer.export.aside import write
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.packet import FILLING, PLAIN, BadXmp, described, description, words_there
from blipq.producer.export.place import Place
from blipq.producer.export.sidecar import reason
from blipq.producer.wording import words


def write_xmp(photos: Iterable[Photo], place: Place, existing: str, outcome: Outcome) -> None:
    """Write each caption as the description in two XMP files; all else that stands in them is kept.

    With `existing` skip, words of a person's in one of them keep the caption out of both.
    """
    for photo in photos:
        try:
            there = {path: _read(path) for path in _names(place, photo)}
            where = _words(there.values(), photo.caption) if existing == "skip" else None
            if where is not None:
                outcome.keep(photo.path, None if where == PLAIN else f"its XMP holds words of its own ({where})")
                continue
            packets = {path: described(packet, photo.caption, existing) for path, packet in there.items()}
            for path, packet in packets.items():
                if packet is not None:
                    write(path, packet)
        except BadXmp as error:
            outcome.refuse(photo.path, str(error))
        except OSError as error:
            outcome.refuse(photo.path, reason(error))
        else:
            changed = any(packet is not None for packet in packets.values())
            outcome.written += changed
            outcome.kept += not changed


def _names(place: Place, photo: Photo) -> set[bytes]:
    return {place.name(photo, ".xmp"), os.path.join(place.beside(photo) + b".xmp")}


def _words(packets: Iterable[bytes | None], caption: str) -> str | None:
    """Where packets hold other words than the caption."""
    for packet in packets:
        if packet is not None and packet.strip(FILLING):
            where = words_there(packet)
            if where is not None and (where != PLAIN or words(description(packet) or "") != words(caption)):
                return where
    return None


def _read(path: bytes) -> bytes | None:
    try:
        with open(path, "rb") as opened:
            return opened.read()
    except FileNotFoundError:
        return None
