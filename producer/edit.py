"""Bulk edits: the same change to many captions, as one batch of a person's edits that can be taken back."""

from __future__ import annotations

import getpass
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from blipq.models import edits
from blipq.models.database import Ledger
from blipq.models.selection import Photo, Selection, photos

SHOWN = 10  # changes that are shown as examples


@dataclass(frozen=True)
class Change:
    """What is done to a caption, in this order."""

    strip: str = ""
    replace: tuple[tuple[str, str], ...] = ()
    prefix: str = ""
    suffix: str = ""

    def apply(self, text: str) -> str:
        """The changed caption; the old one where nothing would be left of it."""
        changed = text.strip()
        words = self.strip.strip()
        if words and changed.lower().startswith(words.lower()):
            changed = changed[len(words) :].strip()
        if words and changed.lower().endswith(words.lower()):
            changed = changed[: -len(words)].strip()
        for old, new in self.replace:
            changed = changed.replace(old, new)
        return f"{self.prefix}{changed}{self.suffix}" if changed.strip() else text


@dataclass
class Edited:
    """What came of it; `examples` are (path, before, after)."""

    batch: str
    changed: int = 0
    kept: int = 0  # images that the change leaves as they are, or that were edited since
    examples: list[tuple[str, str, str]] = field(default_factory=list)


def author() -> str:
    """Who edits: the name of the account."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "unknown"


def new_batch(kind: str) -> str:
    """A name for a bulk edit that a person can type."""
    return f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def edit(ledger: Ledger, selection: Selection, change: Change, *, dry_run: bool) -> Edited:
    """Change the captions of a selection, 2,000 a transaction; each image once, however many files hold it.

    Raises BadQuery, NoSuchJob.
    """
    edited = Edited(new_batch("edit"))
    with ledger.read() as connection:
        chosen = photos(connection, selection)
        while page := list(islice(chosen, edits.CHUNK)):
            _edit_page(ledger, page, change, edited, dry_run=dry_run)
    return edited


def undo(ledger: Ledger, batch: str) -> Edited:
    """Take a bulk edit (or the undoing of one) back. Captions that were edited since stay.

    Raises NoSuchBatch.
    """
    edited = Edited(new_batch("undo"))
    last = 0
    while True:
        with ledger.write() as connection:
            images = edits.images_of(connection, batch, after=last)
            if not images:
                return edited
            undone = edits.undo_batch(connection, batch, images, author(), edited.batch)
        edited.changed += undone.images
        edited.kept += undone.kept
        last = images[-1]


def _edit_page(ledger: Ledger, page: Sequence[Photo], change: Change, edited: Edited, *, dry_run: bool) -> None:
    by_image = {photo.image_id: photo for photo in page}
    with ledger.read() if dry_run else ledger.write() as connection:
        # What people said meanwhile counts, not what was read at the start.
        human = edits.current(connection, by_image)
        ours = edits.of_batch(connection, by_image, edited.batch)
        texts: dict[int, str | None] = {}
        for image_id, photo in by_image.items():
            before = human.get(image_id) or photo.caption
            after = change.apply(before)
            if after == before or image_id in ours:
                edited.kept += image_id not in ours
                continue
            texts[image_id] = after
            if len(edited.examples) < SHOWN:
                edited.examples.append((photo.path, before, after))
        if not dry_run:
            edits.write_edits(connection, texts, author(), edited.batch)
    edited.changed += len(texts)
