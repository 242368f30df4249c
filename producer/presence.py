"""Telling photos that are gone from photos that are not seen from here: their disk is away, or another host has them.

A missing file is gone only where its folder is surely the one that we know: another photo in that very folder is there,
as it was last read. Whatever else is missing (with its whole folder, below an empty mount point, behind a folder that
may not be read, from a card whose place another took) is not seen from here, which says nothing about the photo.
"""

from __future__ import annotations

import os
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blipq.models.database import Ledger
from blipq.models.forget import CHUNK, KnownFile, files_after, files_by_id


@dataclass
class Presence:
    """What a look at files came to. Holds a number a missing file and a path a folder: some 60 MB a million."""

    photos: int = 0  # that were looked at
    _witnesses: dict[bytes, bytes] = field(default_factory=dict)  # folder: a photo that is there as it was
    _missing: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))
    _unreadable: dict[bytes, list[int]] = field(default_factory=lambda: defaultdict(list))

    def gone(self, ledger: Ledger) -> Iterator[list[int]]:
        """Ids of files that are gone, 2,000 at most at a time, each looked at again before it is named."""
        for folder, ids in self._missing.items():
            witness = self._witnesses.get(folder)
            if witness is None:
                continue
            for at in range(0, len(ids), CHUNK):
                with ledger.read() as connection:
                    known = files_by_id(connection, ids[at : at + CHUNK])
                still = [one.id for one in known if _is_missing(one.file)]
                if still and os.path.lexists(witness):  # asked last: a disk that went meanwhile took it along
                    yield still

    def unseen(self) -> dict[bytes, list[int]]:
        """Ids of files that are not seen from here, by folder."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for folder, ids in self._missing.items():
            if folder not in self._witnesses:
                found[folder] += ids
        for folder, ids in self._unreadable.items():
            found[folder] += ids
        return found

    def told(self) -> Counter[str]:
        """How many photos are not seen, by the topmost folder in which nothing of them is."""
        counts: Counter[str] = Counter()
        for folder, ids in self.unseen().items():
            counts[topmost(os.fsdecode(folder))] += len(ids)
        return counts


def look(ledger: Ledger, below: str | None = None) -> Presence:
    """Look at every file that the ledger knows and no open job has to do, or at those below a folder (and itself)."""
    seen = Presence()
    for one in _files(ledger, below):
        seen.photos += 1
        folder = one.file.rpartition(b"/")[0]
        try:
            found = _look(one.file)
        except OSError:  # no permission, a disk that fails, a network that is away: it may well be there
            seen._unreadable[folder].append(one.id)
            continue
        if found is None:
            if not one.busy:
                seen._missing[folder].append(one.id)
        elif (found.st_size, found.st_mtime_ns) == (one.size, one.mtime_ns):
            seen._witnesses[folder] = one.file
    return seen


def topmost(folder: str) -> str:
    """The topmost missing folder on the way to one, or an empty one, as a mount point without its disk is."""
    there = Path(folder)
    while not _is_folder(there):
        there = there.parent
    try:
        empty = next(there.iterdir(), None) is None
    except OSError:
        empty = True
    if empty or str(there) == folder:
        return str(there)
    return str(Path(*Path(folder).parts[: len(there.parts) + 1]))


def _files(ledger: Ledger, below: str | None) -> Iterable[KnownFile]:
    last = 0
    while True:
        with ledger.read() as connection:
            page = files_after(connection, last, below)
        if not page:
            return
        yield from page
        last = page[-1].id


def _look(path: bytes) -> os.stat_result | None:
    """What is there; None where nothing is. Raises OSError where that cannot be told."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_missing(path: bytes) -> bool:
    try:
        return _look(path) is None
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    if path == path.parent:
        return True
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False
