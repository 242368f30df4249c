"""Following a job to its end: a progress bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator

from blipq.models import status
from blipq.models.control import ENDED
from blipq.models.database import Ledger
from blipq.models.status import JobStatus
from blipq.producer import daemon
from blipq.producer.errors import UserError
from blipq.producer.output import duration, say
from blipq.producer.trouble import Watchman
from blipq.settings import Settings

LOOK_SECONDS = 0.25
LINE_SECONDS = 10.0
RATE_SECONDS = 30.0


def follow(ledger: Ledger, settings: Settings, job_id: int, *, quiet: bool = False) -> JobStatus:
    """Wait until a job is over. A keyboard interrupt leaves the job running.

    Raises UserError where the local daemon cannot be kept, or no worker can begin.
    """
    if quiet:
        return deque(looks(ledger, settings, job_id), maxlen=1)[0]
    return _bar(ledger, settings, job_id) if sys.stderr.isatty() else _lines(ledger, settings, job_id)


def last_line(job: JobStatus) -> str:
    """How a captioning job ended, in a line."""
    seconds = job.seconds or 0.0
    each = f" ({seconds / job.done:.2g} s an image)" if job.done else ""
    said = f"captioned {job.done:,} image{'s' * (job.done != 1)} in {duration(seconds)}{each}"
    if job.skipped:
        said += f", {job.skipped:,} had a caption"
    if job.failed:
        said += f", {job.failed:,} failed: blipq results {job.id} --failed"
    if job.state != "done":
        said = f"job {job.id} {job.state}{': ' + job.note if job.note else ''}; {said}"
    return said


def looks(ledger: Ledger, settings: Settings, job_id: int) -> Iterator[JobStatus]:
    """The job's state, again and again until it is over; keeps the local daemon alive meanwhile.

    Says on stderr why workers cannot begin. Raises UserError where none of them can, or the daemon cannot be kept.
    """
    started = 0
    watchman: Watchman | None = None
    log_ends = daemon.log_size(settings)
    while True:
        with ledger.read() as connection:
            (job,) = status.jobs(connection, job_id=job_id)
        yield job
        if job.state in ENDED:
            return
        if settings.embedded and daemon.running(settings) is None:
            started += 1
            if started > 40:  # 10 s in which no daemon lived
                said = daemon.last_words(settings, log_ends) or f"see {daemon.log_path(settings)}"
                raise UserError(f"the local daemon does not stay up: {said}; job {job_id} stays queued")
            if started % 8 == 0:
                daemon.start(settings, idle=settings.idle)
        else:
            started = 0
        watchman = watchman or Watchman(ledger, job.kind, job_id)
        watchman.look()
        time.sleep(LOOK_SECONDS)


def _bar(ledger: Ledger, settings: Settings, job_id: int) -> JobStatus:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[said]}"),
    )
    recent: deque[tuple[float, int]] = deque()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"job {job_id}", total=None, rate="", said="")
        for job in looks(ledger, settings, job_id):
            ended = job.done + job.failed
            progress.update(
                task, total=ended + job.remaining, completed=ended, rate=_rate(recent, job), said=_said(job)
            )
    return job


def _lines(ledger: Ledger, settings: Settings, job_id: int) -> JobStatus:
    recent: deque[tuple[float, int]] = deque()
    said_at, note = time.monotonic(), None
    for job in looks(ledger, settings, job_id):
        rate = _rate(recent, job)
        news = job.note is not None and job.note != note and job.state not in ENDED
        if news or time.monotonic() - said_at > LINE_SECONDS:
            note = job.note
            said_at = time.monotonic()
            ended = job.done + job.failed
            say(f"job {job_id}: {ended:,} of {ended + job.remaining:,} {rate} {_said(job)}".rstrip())
    return job


def _rate(recent: deque[tuple[float, int]], job: JobStatus) -> str:
    """The rate of the last half minute, and the time that the rest takes at it."""
    now = time.monotonic()
    recent.append((now, job.done + job.failed))
    while now - recent[0][0] > RATE_SECONDS:
        recent.popleft()
    seconds, pictures = now - recent[0][0], recent[-1][1] - recent[0][1]
    if not pictures or seconds < 0.5:
        return ""
    rate = pictures / seconds
    return f"{rate:.3g}/s, {duration(job.remaining / rate)} left"


def _said(job: JobStatus) -> str:
    failed = f"{job.failed:,} failed" if job.failed else ""
    return "; ".join(part for part in (failed, job.note or "") if part)
