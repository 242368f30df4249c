"""What lies on disk of a run that is forgotten: counted, deleted where it is surely the run's own, or said to stay."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from blipq.models import run_folder
from blipq.models.training import RunFolder


@dataclass(frozen=True)
class RunFiles:
    """A folder of a run, and what goes with it, or why it stays."""

    folder: str
    files: int = 0
    bytes: int = 0
    stays: str | None = None


def measure(place: RunFolder) -> RunFiles | None:
    """What would go with a run's folder; None where nothing is left of it.

    Only a folder whose marker names the run goes: what another host has, another run wrote, or a release before this
    one left without a marker stays, and a person is told.
    """
    folder = str(place.folder)
    if not os.path.lexists(folder):
        if place.host is None:
            return RunFiles(folder, stays="not on this host: delete it where it lies")
        return None if place.host == socket.gethostname() else RunFiles(folder, stays=f"delete it on host {place.host}")
    if not run_folder.is_marked(place.folder):
        return RunFiles(folder, stays=f"nothing in it says that it is all of run {place.run.id}: look, and delete it")
    if place.folder.is_symlink() or not run_folder.is_own(place.folder, place.run):
        return RunFiles(folder, stays=f"it says that it is not of run {place.run.id}")
    sizes = _sizes(place.folder)
    return RunFiles(folder, len(sizes), sum(sizes.values()))


def remove(found: RunFiles) -> RunFiles:
    """Delete what was measured, for good; what could not be deleted stays, with the reason."""
    if found.stays is not None:
        return found
    try:
        shutil.rmtree(found.folder)
    except OSError as error:
        return RunFiles(found.folder, stays=f"it cannot be deleted: {error.strerror}")
    return found


def _sizes(folder: Path) -> dict[tuple[int, int], int]:
    """Bytes of each file below a folder; one that has two names (a promoted copy) once."""
    sizes = {}
    for path in folder.rglob("*"):
        seen = path.lstat()
        if not path.is_dir() or path.is_symlink():
            sizes[seen.st_dev, seen.st_ino] = seen.st_size
    return sizes
