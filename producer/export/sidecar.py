"""`photo.txt` beside `photo.jpg`, as trainers of LoRAs read it: UTF-8, and one line where the caption is one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

from blipq.models.selection import Photo
from blipq.producer.export.aside import write
from blipq.producer.export.copies import Copies
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.place import Place
from blipq.producer.wording import tidy, words

LARGEST = 1_000_000  # bytes of a text
SEPARATOR = ", "  # between what a file says and what is appended, as between tags


def write_sidecars(
    photos: Iterable[Photo], place: Place, extension: str, existing: str, copies: Copies, outcome: Outcome
) -> None:
    """Write each caption into a text file of the photo's name. `existing`: skip, replace or append."""
    for photo in photos:
        try:
            path = place.text(photo, extension)
            there = read_text(path)
            text = merged(there, photo.caption, existing)
            if text is None:
                outcome.kept += 1
                continue
            if existing == "replace" and there and (why := copies.refuses(photo, there, place, path, extension)):
                outcome.refuse(photo.path, why)
                continue
            write(path, f"{text}\n".encode())
            outcome.written += 1
        except (OSError, UnicodeDecodeError) as error:
            outcome.refuse(photo.path, reason(error))


def merged(there: str | None, caption: str, existing: str) -> str | None:
    """What is to stand in place of a text that is there; None where it stays as it is."""
    caption, there = tidy(caption), tidy(there or "")
    if not there:
        return caption
    if words(there) == words(caption) or existing == "skip":
        return None
    if existing == "replace":
        return caption
    return None if _holds(_tags(there), _tags(caption)) else f"{there}{SEPARATOR}{caption}"


def _tags(text: str) -> list[str]:
    """What stands between commas and line ends: tags, or the parts of a sentence."""
    return [part for part in map(str.strip, re.split(r"[,\n]", words(text))) if part]


def _holds(there: list[str], wanted: list[str]) -> bool:
    """Whether some tags stand among others, whole and side by side."""
    return any(there[at : at + len(wanted)] == wanted for at in range(len(there) - len(wanted) + 1))


def read_text(path: bytes) -> str | None:
    """The text of a file, or None where there is none. Raises OSError, UnicodeDecodeError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for somebody who writes
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="utf-8-sig") as opened:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise OSError(0, "no ordinary file")
        if seen.st_size > LARGEST:
            raise OSError(0, f"more than {LARGEST:,} bytes, which is no caption")
        return opened.read()


def reason(error: OSError | UnicodeDecodeError) -> str:
    """What a person is told of a file that cannot be read or written."""
    return "the text that is there is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
