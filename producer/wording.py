"""Texts as people mean them: which are the same words, and which cannot be kept."""

from __future__ import annotations

import re
import unicodedata

_HALF = re.compile("[\ud800-\udfff]")
_BYTES = re.compile("[\udc80-\udcff]")  # what `surrogateescape` makes of bytes that are no UTF-8


def tidy(text: str) -> str:
    """A text as it is kept: its lines ended by a line feed, without white space around it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def words(text: str) -> str:
    """What is compared: two texts with equal `words` say the same (Unicode's NFC, and line ends, aside)."""
    return unicodedata.normalize("NFC", tidy(text))


def unfit(text: str) -> str | None:
    """Why a text cannot be kept, or None."""
    if _BYTES.search(text):
        return "it is no UTF-8: save it as UTF-8"
    if found := _HALF.search(text):
        return f"it holds half a character (\\u{ord(found[0]):04x})"
    return "it holds a NUL" if "\0" in text else None


def shortened(text: str, length: int = 40) -> str:
    """A text in quotes as it is shown in a line."""
    line = " ".join(text.split())
    return f'"{line}"' if len(line) <= length else f'"{line[: length - 3]}..."'
