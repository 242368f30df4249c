"""Which text beside photos is whose: `1.jpg.txt` is 1.jpg's; `1.txt` is of the 1.jpg or 1.png that has no such text."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from blipq.producer.scan import is_picture

FOLDERS = 64  # whose pictures are remembered


class Stems:
    """The pictures of one folder by their names without suffix, in the order of their names."""

    def __init__(self, pictures: Iterable[bytes]) -> None:
        self._by_stem: dict[bytes, list[bytes]] = defaultdict(list)
        self._names = set()
        for picture in sorted(pictures):
            self._by_stem[os.path.splitext(picture)[0]].append(picture)
            self._names.add(picture)

    def sharing(self, picture: bytes, ending: bytes, folder: bytes | None = None) -> list[bytes]:
        """The pictures that the shorter name could be of: those of this stem without a text by their full names.

        `folder` is where the texts lie; beside the pictures if not given. Empty where the shorter name is the full one
        of another picture (1.jpg and 1.jpg.png).
        """
        stem = os.path.splitext(picture)[0]
        if stem in self._names:
            return []
        alike = self._by_stem.get(stem) or [picture]
        if len(alike) == 1:
            return alike
        at = folder if folder is not None else os.path.dirname(picture)
        return [one for one in alike if not os.path.lexists(os.path.join(at, os.path.basename(one)) + ending)]


class Neighbours:
    """The pictures beside photos, a folder read once."""

    def __init__(self) -> None:
        self._folders: dict[bytes, Stems] = {}

    def of(self, photo: bytes) -> Stems:
        """The pictures in a photo's folder; the photo alone where that cannot be read."""
        folder = os.path.dirname(photo)
        found = self._folders.get(folder)
        if found is None:
            if len(self._folders) >= FOLDERS:
                self._folders.clear()
            found = self._folders[folder] = Stems(_pictures(folder))
        return found


def _pictures(folder: bytes) -> list[bytes]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.path for entry in entries if b"." in entry.name]
    except OSError:
        return []
    return [name for name in names if is_picture(name)]
