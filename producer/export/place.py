"""Where what is written about a photo goes: beside it, or into a folder in which the photos' tree is kept."""

from __future__ import annotations

import os
from pathlib import Path

from blipq.models.selection import Photo
from blipq.producer.beside import Neighbours


class Place:
    """`ends` are the first and the last path of all photos in the order of their bytes: what these two have in common,
    all have, and the tree begins below it."""

    def __init__(self, folder: Path | None, ends: tuple[str, str] | None) -> None:
        self._folder = None if folder is None else os.fsencode(folder.absolute())
        self._depth = 0 if ends is None else len(root_of(*ends).rstrip("/").split("/"))
        self._made: set[bytes] = set()
        self._neighbours = Neighbours()
        self._taken: set[int] = set()  # hashes: 60 bytes a photo instead of its path's length

    def relative(self, photo: Photo) -> bytes:
        """The photo's path below what all have in common."""
        return b"/".join(photo.file.split(b"/")[self._depth :])

    def beside(self, photo: Photo) -> bytes:
        """The path that stands for the photo here: its own, or where it would lie in the folder, which is made."""
        if self._folder is None:
            return photo.file
        path = os.path.join(self._folder, self.relative(photo))
        folder = os.path.dirname(path)
        if folder not in self._made:
            os.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        return path

    def claim(self, path: bytes) -> bool:
        """Take a name for a photo; False where another photo has it (1.jpg and 1.png both want 1.txt)."""
        key = hash(path)
        if key in self._taken:
            return False
        self._taken.add(key)
        return True

    def name(self, photo: Photo, extension: str) -> bytes:
        """`photo.txt` for `photo.jpg`; `photo.png.txt` for the photo.png beside it, whichever of them is exported."""
        path = self.beside(photo)
        wanted, full = self.shorter(photo, extension), path + os.fsencode(extension)
        sharing = self.sharing(photo, extension)
        mine = not sharing or sharing[0] == photo.file
        return wanted if mine and self.claim(wanted) else full

    def shorter(self, photo: Photo, extension: str) -> bytes:
        """`photo.txt`, whoever has it."""
        return os.path.splitext(self.beside(photo))[0] + os.fsencode(extension)

    def text(self, photo: Photo, extension: str) -> bytes:
        """As `name`; the whole name where a text stands there, which then is the photo's (so `blipq import` has it)."""
        full = self.beside(photo) + os.fsencode(extension)
        return full if os.path.lexists(full) else self.name(photo, extension)

    def sharing(self, photo: Photo, extension: str) -> list[bytes]:
        """The pictures that the shorter name could be of, in the order of their names."""
        folder = None if self._folder is None else os.path.dirname(self.beside(photo))
        return self._neighbours.of(photo.file).sharing(photo.file, os.fsencode(extension), folder)


def root_of(first: str, last: str) -> str:
    """The folder that two paths have in common."""
    return os.path.dirname(first) if first == last else os.path.commonpath([first, last])
