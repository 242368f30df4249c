"""What becomes of the texts that came for one content: they say nothing new, are taken, or contradict one another.

What a model wrote is nobody's words: such a text (an export that comes back) neither makes an edit nor contradicts.
What a person wrote is; the caption that counts too, where it is a person's. So a copy whose text still is that caption
contradicts one with other words: taking those would write over the copy's text at the next export.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from blipq.models.edits import Said
from blipq.producer.beside import Neighbours
from blipq.producer.import_sources import own_text
from blipq.producer.import_spool import Written
from blipq.producer.scan import display
from blipq.producer.wording import shortened, words

BATCH = "import"  # what batches of imports begin with
NOBODY = Said()


@dataclass
class Verdict:
    """The `text` to take, how many texts say nothing new, and those that contradict one another, each with a reason."""

    text: str | None = None
    known: int = 0
    conflicts: list[tuple[Written, str]] = field(default_factory=list)


class Judge:
    """Weighs texts. `extension` is that of texts beside photos, where copies may have words of their own."""

    def __init__(self, extension: str) -> None:
        self._extension = extension
        self._neighbours = Neighbours()

    def weigh(self, together: Sequence[Written], said: Said, copies: Sequence[bytes]) -> Verdict:
        """What becomes of one content's texts. `copies` are the files that hold it, where there are several."""
        models = {words(text) for text in said.models}
        mine = [one for one in together if words(one.text) not in models]
        verdict = Verdict(known=len(together) - len(mine))
        if not mine:
            return verdict
        first = mine[0]
        rival = next((one for one in mine if words(one.text) != words(first.text)), None)
        if rival is not None:
            for one in mine:
                other = rival if words(one.text) == words(first.text) else first
                verdict.conflicts.append((one, _contradiction(one, other.where, other.text)))
        elif said.human is not None and words(first.text) == words(said.human):
            verdict.known += len(mine)
        elif elsewhere := self._elsewhere(together, first, said, models, copies):
            verdict.conflicts += [(one, _contradiction(one, *elsewhere)) for one in mine]
        else:
            verdict.text = first.text
            verdict.known += len(mine) - 1
        return verdict

    def _elsewhere(
        self, together: Sequence[Written], first: Written, said: Said, models: set[str], copies: Sequence[bytes]
    ) -> tuple[str, str] | None:
        """A copy that is seen from here, of which no text came now, and what a person wrote of it elsewhere."""
        came = {one.photo for one in together}
        files = [found for found in map(_inode, came) if found is not None]
        for copy in copies:
            inode = _inode(copy)
            if copy in came or inode is None or inode in files:
                continue  # a photo that was moved, or one file by two ways
            text = own_text(copy, self._extension, self._neighbours)
            if text is not None and words(text) not in models | {words(first.text)}:
                return display(copy), text
            imported = said.human is not None and (said.batch or "").startswith(f"{BATCH}-")
            if first.in_table and imported and text is None:  # maybe that copy's, from an earlier table
                return display(copy), said.human or ""
        return None


def _contradiction(one: Written, where: str, text: str) -> str:
    return (
        f"{shortened(one.text)}, but {where} says {shortened(text)} of the same picture, which has one caption: neither"
        " is taken; give both the same words"
    )


def _inode(path: bytes) -> tuple[int, int] | None:
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return None
    return seen.st_dev, seen.st_ino
