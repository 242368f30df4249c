"""Telling words from what cameras and programs write into every file."""

from __future__ import annotations

import re

_STOCK = re.compile(
    rb"(olympus|(konica )?minolta|samsung|kodak|panasonic)? ?digital (still )?camera|sony dsc|samsung camera pictures"
    rb"|dcim[/\\]\S*|dcf 1\.0|default|ascii|created with (the )?gimp|creator: gd-jpeg .*|lavc[\d.]+"
    rb"|file (source|written) .*photoshop.*|intel\(r\) jpeg library.*"
    rb"|(processed|optimized|compressed) (by|with) \S+( \S+)?",
    re.IGNORECASE,
)


def says(value: bytes) -> bool:
    """Whether a value holds words, and not those that a camera or a program writes into every file."""
    text = value.strip(b"\0 \t\r\n\xff")
    return bool(text) and not _STOCK.fullmatch(text)
