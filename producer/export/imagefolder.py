"""A Hugging Face `imagefolder`: the photos with their tree, and `metadata.jsonl` that names each one's caption.

`datasets.load_dataset("imagefolder", data_dir=...)` and `blipq train` read it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from blipq.models.selection import Photo
from blipq.producer.export.aside import aside, writing
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.place import Place
from blipq.producer.export.sidecar import reason
from blipq.producer.scan import display
from blipq.producer.wording import tidy

METADATA = "metadata.jsonl"


def write_imagefolder(photos: Iterable[Photo], folder: Path, place: Place, link: bool, outcome: Outcome) -> None:
    """Copy the photos, or link them (one disk, no copy), and write the table last: without it there is no data set."""
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / METADATA) as out:
        for photo in photos:
            # Bytes that are no UTF-8 are written as %ff: `datasets` takes a backslash for a folder's end.
            name = display(place.relative(photo)).replace("\\", "%")
            try:
                target = os.fsencode(folder / name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                _bring(photo.file, target, link=link)
            except OSError as error:
                outcome.refuse(photo.path, reason(error))
                continue
            row = {"file_name": name, "text": tidy(photo.caption)}
            out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            outcome.written += 1


def _bring(photo: bytes, target: bytes, *, link: bool) -> None:
    """The photo under another path, whole or not at all; one that is there with its size and time is left."""
    seen = os.stat(photo)
    try:
        there = os.stat(target)
        if (there.st_size, there.st_mtime_ns) == (seen.st_size, seen.st_mtime_ns):
            return
    except FileNotFoundError:
        pass
    hidden = aside(target)
    try:
        if link:
            os.link(photo, hidden)
        else:
            shutil.copy2(photo, hidden)
        os.replace(hidden, target)
    finally:
        if os.path.lexists(hidden):
            os.unlink(hidden)
