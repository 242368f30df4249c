"""XMP sidecars under both names in use: `photo.xmp` (Adobe's) and `photo.jpg.xmp` (darktable's, digiKam's)."""

from __future__ import annotations

import os
from collections.abc import Iterable

from blipq.models.selection import Photo
from blipq.producer.export.aside import write
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.packet import BadXmp, described
from blipq.producer.export.place import Place
from blipq.producer.export.sidecar import reason


def write_xmp(photos: Iterable[Photo], place: Place, existing: str, outcome: Outcome) -> None:
    """Write each caption as the description in two XMP files; all else that stands in them is kept."""
    for photo in photos:
        try:
            changed = [_write(path, photo.caption, existing) for path in _names(place, photo)]
        except BadXmp as error:
            outcome.refuse(photo.path, str(error))
        except OSError as error:
            outcome.refuse(photo.path, reason(error))
        else:
            outcome.written += any(changed)
            outcome.kept += not any(changed)


def _names(place: Place, photo: Photo) -> set[bytes]:
    return {place.name(photo, ".xmp"), os.path.join(place.beside(photo) + b".xmp")}


def _write(path: bytes, caption: str, existing: str) -> bool:
    try:
        with open(path, "rb") as opened:
            there = opened.read()
    except FileNotFoundError:
        there = None
    packet = described(there, caption, existing)
    if packet is not None:
        write(path, packet)
    return packet is not None
