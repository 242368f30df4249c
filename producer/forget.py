"""What a person wants gone from the ledger, and what nothing leads to any more.

A person's photos on disk are never touched; copies that are ours alone (thumbnails, uploads) go with their rows.
"""

from __future__ import annotations

import shutil
import stat
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from blipq.models import forget as rows
from blipq.models import training
from blipq.models.database import Ledger
from blipq.models.forget import Forgotten, StillWanted
from blipq.producer import run_files
from blipq.producer.presence import Presence
from blipq.producer.run_files import RunFiles
from blipq.settings import Settings

DAY = 86_400.0
OLD_WORKERS = 30 * DAY
OLD_LOGS = 30 * DAY
OLD_UPLOADS = 3600.0
UPLOADS = "uploads"  # pictures that came by HTTP to be kept
THUMBNAILS = "thumbs"  # of the pages, by side and content


@dataclass
class Collected:
    """What a garbage collection took out, and what it left because it is not seen from here."""

    rows: Forgotten = field(default_factory=Forgotten)
    unseen: Counter[str] = field(default_factory=Counter)  # folder: photos below it that were kept
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


def is_photo(ledger: Ledger, path: str) -> bool:
    """Whether a path is a photo's own, and no folder's."""
    with ledger.read() as connection:
        return rows.is_file(connection, path)


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


def collect(ledger: Ledger, settings: Settings, seen: Presence, *, unseen: bool = False, dry_run: bool) -> Collected:
    """Take out files that are gone from disk, contents that no file holds, old workers, uploads, thumbnails and logs.

    `seen` is a look at all files; with `unseen` those go too that it could not see from here. What a person has edited
    stays, wherever its photo went.
    """
    collected = Collected(unseen=Counter() if unseen else seen.told())
    _collect_files(ledger, collected, seen, unseen=unseen, dry_run=dry_run)
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


def _collect_files(ledger: Ledger, collected: Collected, seen: Presence, *, unseen: bool, dry_run: bool) -> None:
    away = [ids for ids in seen.unseen().values() if unseen]
    for ids in chain(seen.gone(ledger), *map(_chunks, away)):
        with _transaction(ledger, dry_run) as connection:
            collected.rows += rows.forget_files(connection, ids, keep_edited=True)


def _chunks(ids: list[int]) -> Iterator[list[int]]:
    return (ids[at : at + rows.CHUNK] for at in range(0, len(ids), rows.CHUNK))


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
            try:
                seen = path.lstat()
            except FileNotFoundError:  # the pages tidy up too
                continue
            if stat.S_ISREG(seen.st_mode) and max(seen.st_mtime, seen.st_atime) < old:
                collected.files += 1
                collected.bytes += seen.st_size
                if not dry_run:
                    path.unlink(missing_ok=True)


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
