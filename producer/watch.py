"""Watching folders: photos that are new or changed are captioned once they have settled.

What changed is only ever a hint: it is looked at on disk, and everything is looked at when the watch begins and once an
hour, so that what the operating system did not say is missed for an hour at the most.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.producer import enqueue as enqueueing
from blipq.producer.enqueue import Enqueued, Request
from blipq.producer.errors import UserError
from blipq.producer.scan import is_picture, scan
from blipq.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTLED_SECONDS = 1.0  # a file whose size and time stay so long is taken for written
BURST_SECONDS = 10.0  # while more keeps coming, what has settled is not held back longer
BURST_PHOTOS = 10_000
TICK_MS = 250
RESCAN_SECONDS = 3600.0

Seen = tuple[int, int]  # size and time


@dataclass
class _Pending:
    """Paths that changed, with what was seen of each and since when."""

    seen: dict[str, tuple[Seen, float]] = field(default_factory=dict)
    since: float | None = None  # of the oldest in this burst

    def note(self, path: str, now: float) -> None:
        """A path has changed."""
        self.seen[path] = ((-1, -1), now)
        if self.since is None:
            self.since = now

    def settled(self, now: float) -> tuple[str, ...]:
        """Photos to enqueue now: all of a burst once it is over, or what has settled of one that goes on."""
        done = []
        for path, (before, at) in list(self.seen.items()):
            after = _look(path)
            if after is None:
                del self.seen[path]
            elif after != before:
                self.seen[path] = (after, now)
            elif now - at >= SETTLED_SECONDS:
                done.append(path)
        unsettled = len(self.seen) - len(done)
        if unsettled and now - (self.since or now) < BURST_SECONDS and len(done) < BURST_PHOTOS:
            return ()
        for path in done:
            del self.seen[path]
        self.since = now if self.seen else None
        return tuple(done)


def watch(ledger: Ledger, settings: Settings, request: Request, stop: Event, told: Callable[[Enqueued], None]) -> None:
    """Enqueue what is new below `request.watched`, now and from now on, until `stop` is set. One job a burst.

    Raises UserError where a folder cannot be watched.
    """
    folders = request.watched
    pending = _Pending()
    scanned = -RESCAN_SECONDS
    for changes in _changes(folders, stop):
        now = time.monotonic()
        for path in changes:
            if not _hidden(path, folders):
                _note(pending, path, now)
        if now - scanned >= RESCAN_SECONDS:  # first when the watch stands, so that nothing falls in between
            scanned = now
            _enqueue(ledger, settings, replace(request, paths=folders), told, look_first=True)
        if settled := pending.settled(now):
            _enqueue(ledger, settings, replace(request, paths=settled), told)


def _enqueue(
    ledger: Ledger,
    settings: Settings,
    request: Request,
    told: Callable[[Enqueued], None],
    *,
    look_first: bool = False,
) -> None:
    """A job of some paths; none where nothing is to be done (with `look_first`) or all of them are gone by now."""
    try:
        if look_first and not enqueueing.count(ledger, settings, request, lambda _: None).queued:
            return
        answer = enqueueing.enqueue(ledger, settings, request, lambda _: None)
    except enqueueing.NothingFound:
        return
    enqueueing.call(settings, answer.units)
    told(answer)


def _changes(folders: Sequence[str], stop: Event) -> Iterator[list[str]]:
    """Paths that changed, four times a second, empty where nothing did."""
    try:
        import watchfiles
    except ImportError:
        raise UserError("watching needs its package: pip install 'blipq[watch]'") from None
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: no folder")
    try:
        for changes in watchfiles.watch(
            *folders,
            watch_filter=None,
            stop_event=stop,
            debounce=TICK_MS,
            step=50,
            rust_timeout=TICK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            yield [path for change, path in changes if change != watchfiles.Change.deleted]
    except OSError as error:
        if "watch" not in str(error):
            raise
        raise UserError(
            f"too many folders to watch ({error}): raise fs.inotify.max_user_watches, or set WATCHFILES_FORCE_POLLING=1"
        ) from None


def _note(pending: _Pending, path: str, now: float) -> None:
    """Note a photo; of a folder that came whole, all that is in it, since its files were not reported."""
    try:
        seen = os.lstat(path)
    except OSError:
        return
    if stat.S_ISDIR(seen.st_mode):
        for found in scan([path]):
            if isinstance(found, Found):
                pending.note(os.fsdecode(found.raw) if found.raw is not None else found.path, now)
    elif stat.S_ISREG(seen.st_mode) and is_picture(os.fsencode(path)):
        pending.note(path, now)


def _hidden(path: str, folders: Sequence[str]) -> bool:
    """Whether a name below the watched folders begins with a dot, as that of a file does which is still being made."""
    below = next((path[len(folder) :] for folder in folders if path.startswith(folder)), path)
    return "/." in below


def _look(path: str) -> Seen | None:
    try:
        seen = os.lstat(path)
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns
