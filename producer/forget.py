"""What a person wants gone from the ledger, and what nothing leads to any more.

A person's photos on disk are never touched; copies that are ours alone (thumbnails, uploads) go with their rows.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from blipq.models import forget as rows
from blipq.models import training
from blipq.models.database import Ledger
from blipq.models.forget import Forgotten, StillWanted
from blipq.producer import run_files
from blipq.producer.run_files import RunFiles
from blipq.settings import Settings

DAY = 86_400.0
OLD_WORKERS = 30 * DAY
OLD_LOGS = 30 * DAY
OLD_UPLOADS = 3600.0
UPLOADS = "uploads"  # pictures that came by HTTP to be kept
THUMBNAILS = "thumbs"  # of the pages, by side and content
_MOUNTS = ("/media", "/mnt", "/run/media", "/Volumes")  # what is not there below these is a disk that is not plugged in


@dataclass
class Collected:
    """What a garbage collection took out, and what it left because its disk seems not to be there."""

    rows: Forgotten = field(default_factory=Forgotten)
    absent: Counter[str] = field(default_factory=Counter)  # folder: photos below it
    files: int = 0  # of ours: old logs and thumbnails
    bytes: int = 0


class _Rehearsed(Exception):
    """Rolls a dry run back."""


def forget_path(ledger: Ledger, settings: Settings, path: str, *, dry_run: bool) -> Forgotten:
    """Forget a photo, or all below a folder: captions, what people wrote, failures, thumbnails. Raises StillWanted."""
    gone, last = Forgotten(), 0
    while True:
        with _transaction(ledger, dry_run) as connection:
            ids = rows.files_under(connection, path, last)
            more = rows.forget_files(connection, ids)
        if not ids:
            break
        if not dry_run:
            _drop_thumbnails(settings, more)
        gone += more
        last = ids[-1]
    uploads = settings.home / UPLOADS
    if not dry_run and uploads in (Path(path), *Path(path).parents):  # ours: nobody else keeps these files
        if Path(path).is_dir():
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)
    return gone


def forget_job(ledger: Ledger, job_id: int, *, dry_run: bool) -> tuple[Forgotten, list[RunFiles]]:
    """Forget a job that is over and the captions that it alone asked for; its photos and what people wrote stay.

    A run's own files on this host go too, once its rows are gone; returned are they, and what stays elsewhere.
    Raises StillWanted, NoSuchJob.
    """
    gone, over = Forgotten(), False
    while not over:
        with _transaction(ledger, dry_run) as connection:
            rows.check_job(connection, job_id)
            folders = training.folders(connection, job_id)
            while not over:
                more = rows.forget_items(connection, job_id)
                over = more is None and not rows.forget_losses(connection, job_id)
                gone += rows.forget_job(connection, job_id) if over else more or Forgotten()
                if not dry_run:  # one chunk a transaction; a dry run has to see the end before it is taken back
                    break
    files = [found for place in folders if (found := run_files.measure(place)) is not None]
    return gone, files if dry_run else [run_files.remove(found) for found in files]


def collect(ledger: Ledger, settings: Settings, *, dry_run: bool) -> Collected:
    """Take out files that are gone from disk, contents that no file holds, old workers, uploads, thumbnails and logs.

    What a person has edited stays, wherever its photo went.
    """
    collected = Collected()
    _collect_files(ledger, collected, dry_run=dry_run)
    _collect_orphans(ledger, collected, dry_run=dry_run)
    while True:
        with _transaction(ledger, dry_run) as connection:
            uploads = rows.old_uploads(connection, OLD_UPLOADS)
            collected.rows += rows.forget_files(connection, uploads)
        if dry_run or len(uploads) < rows.CHUNK:
            break
    with _transaction(ledger, dry_run) as connection:
        collected.rows += rows.forget_workers(connection, OLD_WORKERS)
    if not dry_run:
        _drop_thumbnails(settings, collected.rows)
    _collect_own_files(settings, collected, dry_run=dry_run)
    return collected


def _collect_files(ledger: Ledger, collected: Collected, *, dry_run: bool) -> None:
    last = 0
    while True:
        with ledger.read() as connection:
            page = rows.files_after(connection, last)
        if not page:
            return
        gone = []
        for file_id, path, raw in page:
            if _is_there(raw if raw is not None else os.fsencode(path)):
                continue
            disk = absent_disk(str(Path(path).parent))
            if disk is None:
                gone.append(file_id)
            else:
                collected.absent[disk] += 1
        if gone:
            with _transaction(ledger, dry_run) as connection:
                collected.rows += rows.forget_files(connection, gone, keep_edited=True)
        last = page[-1][0]


def _collect_orphans(ledger: Ledger, collected: Collected, *, dry_run: bool) -> None:
    last = 0
    while True:
        with _transaction(ledger, dry_run) as connection:
            images = rows.orphans(connection, last)
            collected.rows += rows.forget_images(connection, images, keep_edited=True)
        if not images:
            return
        last = images[-1]


def _drop_thumbnails(settings: Settings, gone: Forgotten) -> None:
    for name in (sha256.hex() for sha256 in gone.contents):
        for path in (settings.home / THUMBNAILS).glob(f"*/{name[:2]}/{name}.jpg"):
            path.unlink(missing_ok=True)


def _collect_own_files(settings: Settings, collected: Collected, *, dry_run: bool) -> None:
    old = time.time() - OLD_LOGS
    for folder, pattern in ((settings.home / "log", "*.log.*"), (settings.home / THUMBNAILS, "**/*")):
        for path in folder.glob(pattern):
            seen = path.lstat()
            if stat.S_ISREG(seen.st_mode) and max(seen.st_mtime, seen.st_atime) < old:
                collected.files += 1
                collected.bytes += seen.st_size
                if not dry_run:
                    path.unlink(missing_ok=True)


def absent_disk(folder: str) -> str | None:
    """The folder where a disk seems not to be mounted, above a folder of photos; None where they are really gone.

    A mount point without its disk is an empty folder, or none at all below /media, /mnt and their like.
    """
    there = Path(folder)
    while not there.is_dir():
        there = there.parent
    for mounts in _MOUNTS:
        depth = len(Path(mounts).parts)
        if there.parts[:depth] == Path(mounts).parts and len(there.parts) <= depth + 1 and str(there) != folder:
            return str(Path(*Path(folder).parts[: len(there.parts) + 1]))
    try:
        empty = next(there.iterdir(), None) is None
    except OSError:
        return str(there)
    return str(there) if empty else None


def _is_there(path: bytes) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # no permission, a disk that fails: it may well be there
        return True
    return True


@contextmanager
def _transaction(ledger: Ledger, dry_run: bool) -> Iterator[Connection]:
    """One chunk; a dry run does it all, counts, and takes it back."""
    try:
        with ledger.write() as connection:
            yield connection
            if dry_run:
                raise _Rehearsed
    except _Rehearsed:
        pass
    except IntegrityError:
        raise StillWanted("a job took some of these photos up meanwhile: try again") from None
