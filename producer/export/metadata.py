"""Captions into the photos' own files, as XMP: the one place in which blipq changes a person's picture.

The new file is written aside, read back, held against the old one byte for byte but for its XMP, flushed to the disk
and then renamed. Mode, times and extended attributes stay, and so does the picture's identity.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from operator import itemgetter

from sqlalchemy import bindparam, update

from blipq.models.database import Ledger
from blipq.models.schema import file
from blipq.models.selection import Photo
from blipq.producer.export.aside import aside
from blipq.producer.export.container import packet_of, picture_of, put_together, take_apart
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.own_words import own_words
from blipq.producer.export.packet import BadXmp, described
from blipq.producer.export.part import NoPlace
from blipq.producer.export.sidecar import reason

TOGETHER = 100  # files a transaction: a crash in between costs that many reads at the next enqueue, and no caption


class _Changed(Exception):
    """The file is no longer the one that was captioned."""


class _Kept(Exception):
    """The file holds a person's words where no caption is written; the message says where."""


def write_metadata(photos: Iterable[Photo], ledger: Ledger, max_bytes: int, existing: str, outcome: Outcome) -> None:
    """Write each caption into its photo as `dc:description`. What cannot be written safely is left and counted."""
    sizes: list[dict[str, int]] = []
    try:
        for photo in photos:
            try:
                size = _describe(photo, max_bytes, existing)
            except (NoPlace, BadXmp) as error:
                outcome.refuse(photo.path, str(error))
            except _Kept as where:
                outcome.keep(photo.path, f"it holds words of its own ({where})")
            except _Changed:
                outcome.refuse(photo.path, "it changed since it was captioned: enqueue it again")
            except OSError as error:
                outcome.refuse(photo.path, reason(error))
            else:
                outcome.written += size is not None
                outcome.kept += size is None
                if size is not None:
                    sizes.append({"id_": photo.file_id, "old": photo.size, "at": photo.mtime_ns, "new": size})
            if len(sizes) >= TOGETHER:
                _remember(ledger, sizes)
                sizes = []
    finally:
        _remember(ledger, sizes)


def _describe(photo: Photo, max_bytes: int, existing: str) -> int | None:
    """Write one caption; the file's new size, or None where it stays as it is."""
    path = photo.file
    seen = os.lstat(path)
    if not stat.S_ISREG(seen.st_mode):
        raise NoPlace("it is no ordinary file")
    if (seen.st_size, seen.st_mtime_ns) != (photo.size, photo.mtime_ns):
        raise _Changed
    if seen.st_size > max_bytes:
        raise NoPlace(f"it has more than {max_bytes:,} bytes (BLIPQ_MAX_BYTES)")
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as opened:
        data = opened.read()
    parts = take_apart(data)
    if existing == "skip" and (where := own_words(parts)) is not None:
        raise _Kept(where)
    packet = described(packet_of(parts), photo.caption, existing)
    if packet is None:
        return None
    hidden = aside(path)
    try:
        _write(hidden, put_together(parts, packet), seen.st_mode)
        with open(hidden, "rb") as opened:
            written = take_apart(opened.read())
        if picture_of(written) != picture_of(parts) or packet_of(written) != packet:
            raise NoPlace("its structure is unusual: the picture would not stay byte for byte")
        shutil.copystat(path, hidden)
        size = os.lstat(hidden).st_size
        now = os.lstat(path)
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (seen.st_ino, seen.st_size, seen.st_mtime_ns):
            raise _Changed
        os.replace(hidden, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(hidden)
    return size


def _write(path: bytes, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(path, flags, stat.S_IMODE(mode)), "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _remember(ledger: Ledger, sizes: list[dict[str, int]]) -> None:
    """Tell the ledger the new sizes, so that nothing counts as changed; the times stayed."""
    if not sizes:
        return
    known = (file.c.id == bindparam("id_")) & (file.c.size == bindparam("old")) & (file.c.mtime_ns == bindparam("at"))
    with ledger.write() as connection:
        in_order = sorted(sizes, key=itemgetter("id_"))  # see `models.locks`
        connection.execute(update(file).where(known).values(size=bindparam("new")), in_order)
