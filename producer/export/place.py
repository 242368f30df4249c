"""Where what is written about a photo goes: beside it, or into a folder in which the photos' tree is kept."""

from __future__ import annotations

import os
from pathlib import Path

from blipq.models.selection import Photo


class Place:
    """`ends` are the first and the last path of all photos in the order of their bytes: what these two have in common,
    all have, and the tree begins below it."""

    def __init__(self, folder: Path | None, ends: tuple[str, str] | None) -> None:
        self._folder = None if folder is None else os.fsencode(folder.absolute())
        self._depth = 0 if ends is None else len(root_of(*ends).rstrip("/").split("/"))
        self._made: set[bytes] = set()
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
        """`photo.txt` for `photo.jpg`; `photo.png.txt` for the photo.png beside it."""
        path = self.beside(photo)
        ending = os.fsencode(extension)
        wanted = os.path.splitext(path)[0] + ending
        return wanted if self.claim(wanted) else path + ending


def root_of(first: str, last: str) -> str:
    """The folder that two paths have in common."""
    return os.path.dirname(first) if first == last else os.path.commonpath([first, last])
