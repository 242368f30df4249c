"""Finding pictures: folders, files, globs and a list on stdin become `Found`; what is left out has a reason."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blipq.models.intake import Found

# By name, a picture: those that can be captioned, and those that cannot, which then stand among the failures instead
# of being passed over in silence.
PICTURES = frozenset(
    [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "apng",
        "webp",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "avif",
        "avifs",
        "heic",
        "heif",
        "hif",
        "jp2",
        "j2k",
        "j2c",
        "jpx",
        "jpf",
        "ppm",
        "pgm",
        "pbm",
        "pnm",
        "pfm",
        "tga",
        "ico",
        "psd",
        "sgi",
        "rgb",
        "bw",
        "blp",
        "svg",
        "pdf",
        "dng",
        "cr2",
        "cr3",
        "nef",
        "nrw",
        "arw",
        "raf",
        "orf",
        "rw2",
        "pef",
        "srw",
        "3fr",
        "iiq",
        "crw",
        "erf",
        "gpr",
        "kdc",
        "mef",
        "mos",
        "mrw",
        "rwl",
        "sr2",
        "x3f",
        "jxl",
        "exr",
        "hdr",
        "dds",
        "xcf",
    ]
)
_HEADS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"FUJI",
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"IIU\0",
)
STDIN = "-"


@dataclass(frozen=True)
class Refused:
    """A path that is not enqueued, and why."""

    path: str
    reason: str


def scan(paths: Iterable[str]) -> Iterator[Found | Refused]:
    """Walk the paths in order; folders recursively, in the order of their names, hidden entries left out.

    Links are not followed: a photo has one path. Memory holds one folder's names at a time.
    """
    for given in _named(paths):
        path = os.path.abspath(given)
        try:
            seen = os.lstat(path)
        except OSError as error:
            matches = sorted(glob.glob(given, recursive=True)) if glob.has_magic(given) else []
            if matches:
                yield from scan(os.path.join(".", match) if match == STDIN else match for match in matches)
            else:
                yield Refused(given, _reason(error))
            continue
        if stat.S_ISLNK(seen.st_mode) and os.path.isdir(path):
            path = os.path.realpath(path)  # a folder that a person names may be reached by a link
            seen = os.lstat(path)
        if stat.S_ISDIR(seen.st_mode):
            yield from _walk(os.fsencode(path))
        else:
            yield _entry(os.fsencode(path), seen)


def look(path: bytes) -> Found | Refused:
    """One file as it is now."""
    try:
        return _entry(path, os.lstat(path))
    except OSError as error:
        return Refused(display(path), _reason(error))


def display(path: bytes) -> str:
    """A path as text; bytes that are no UTF-8 are escaped."""
    return path.decode("utf-8", "backslashreplace")


def _named(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path == STDIN:
            for line in sys.stdin.buffer:
                yield from (os.fsdecode(part) for part in line.rstrip(b"\r\n").split(b"\0") if part)
        else:
            yield path


def _walk(folder: bytes) -> Iterator[Found | Refused]:
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry for entry in entries if not entry.name.startswith(b".")), key=lambda e: e.name)
    except OSError as error:
        yield Refused(display(folder), _reason(error))
        return
    folders = []
    for entry in names:
        try:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif _looks_like_picture(entry):
                yield _entry(entry.path, entry.stat(follow_symlinks=False))
        except OSError as error:
            yield Refused(display(entry.path), _reason(error))
    for deeper in folders:
        yield from _walk(deeper)


def _looks_like_picture(entry: os.DirEntry[bytes]) -> bool:
    if b"." in entry.name:
        return is_picture(entry.path)
    return entry.is_file(follow_symlinks=False) and is_picture(entry.path)


def is_picture(path: bytes) -> bool:
    """Whether a file is named like a picture, or begins like one where its name says nothing."""
    _, dot, suffix = os.path.basename(path).rpartition(b".")
    if dot:
        return suffix.lower().decode("ascii", "replace") in PICTURES
    try:
        with open(path, "rb") as opened:
            return opened.read(4).startswith(_HEADS)
    except OSError:
        return False


def _entry(path: bytes, seen: os.stat_result) -> Found | Refused:
    shown = display(path)
    if stat.S_ISLNK(seen.st_mode):
        return Refused(shown, "a symbolic link: name what it leads to")
    if not stat.S_ISREG(seen.st_mode):
        return Refused(shown, "no ordinary file")
    return Found(shown, seen.st_size, seen.st_mtime_ns, None if os.fsencode(shown) == path else path)


def _reason(error: OSError) -> str:
    return {2: "not there", 13: "may not be read (permission)"}.get(error.errno or 0, error.strerror or str(error))


def absolute(paths: Iterable[str]) -> list[str]:
    """Paths as a job remembers them, for telling whether their disk is there."""
    return [str(Path(path).absolute()) for path in paths if path != STDIN and not glob.has_magic(path)]
