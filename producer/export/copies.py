"""Texts that a person wrote and that the ledger does not have, where writing over them would lose them unawares.

A caption belongs to a content. Of two copies with a text each, the ledger holds one at most: `--existing replace`
leaves what it never had, since `blipq import` could not take it in either.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection

from blipq.models import contents, edits
from blipq.models.selection import PAGE, Photo
from blipq.producer.export.place import Place
from blipq.producer.scan import display
from blipq.producer.wording import words


class Copies:
    """Which of the photos that go by have copies. `prefix` and `suffix` are what an export adds to captions."""

    def __init__(self, connection: Connection, prefix: str, suffix: str) -> None:
        self._connection = connection
        self._prefix, self._suffix = prefix, suffix
        self._copies: dict[int, list[bytes]] = {}

    def noted(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        """The photos, with the copies of a page of them looked up: one query a thousand."""
        source = iter(photos)
        while page := list(islice(source, PAGE)):
            self._copies = contents.copies(self._connection, {photo.image_id for photo in page})
            yield from page

    def refuses(self, photo: Photo, there: str, place: Place, path: bytes, extension: str) -> str | None:
        """Why a text must not be written over, or None."""
        others = [copy for copy in self._copies.get(photo.image_id, ()) if copy != photo.file]
        sharing = place.sharing(photo, extension) if path == place.shorter(photo, extension) else []
        if not others and len(sharing) < 2:
            return None
        texts = {words(text) for text in edits.ever_said(self._connection, photo.image_id)}
        plain = words(there)
        if {plain, words(plain.removeprefix(self._prefix).removesuffix(self._suffix))} & texts:
            return None
        if others:
            return (
                f"its text is not in the ledger, and {display(others[0])} is the same picture: blipq import says more"
            )
        names = " or ".join(display(os.path.basename(one)) for one in sharing)
        return f"{display(path)} may be of {names}: put its photo's whole name before its ending"
