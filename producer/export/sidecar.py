"""`photo.txt` beside `photo.jpg`, as trainers of LoRAs read it: one line, UTF-8."""

from __future__ import annotations

from collections.abc import Iterable

from blipq.models.selection import Photo
from blipq.producer.export.aside import write
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.place import Place

SEPARATOR = ", "  # between what a file says and what is appended, as between tags


def write_sidecars(photos: Iterable[Photo], place: Place, extension: str, existing: str, outcome: Outcome) -> None:
    """Write each caption into a text file of the photo's name. `existing`: skip, replace or append."""
    for photo in photos:
        try:
            path = place.name(photo, extension)
            text = merged(read_text(path), photo.caption, existing)
            if text is None:
                outcome.kept += 1
            else:
                write(path, f"{text}\n".encode())
                outcome.written += 1
        except (OSError, UnicodeDecodeError) as error:
            outcome.refuse(photo.path, reason(error))


def merged(there: str | None, caption: str, existing: str) -> str | None:
    """What is to stand in place of a text that is there; None where it stays as it is."""
    line = " ".join(caption.split())
    there = (there or "").strip()
    if not there:
        return line
    if existing == "replace":
        return line if line != there else None
    if existing == "skip" or line in there:
        return None
    return f"{there}{SEPARATOR}{line}"


def read_text(path: bytes) -> str | None:
    """The text of a file, or None where there is none. Raises OSError, UnicodeDecodeError."""
    try:
        with open(path, encoding="utf-8-sig") as opened:
            return opened.read()
    except FileNotFoundError:
        return None


def reason(error: OSError | UnicodeDecodeError) -> str:
    """What a person is told of a file that cannot be read or written."""
    return "the text that is there is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
