"""Following a training run to its end: a progress bar on a terminal, a line an epoch elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator

from blipq.models import runs
from blipq.models.database import Ledger
from blipq.models.runs import RunStatus
from blipq.producer.follow import LINE_SECONDS, looks
from blipq.producer.output import duration, say
from blipq.settings import Settings

RATE_SECONDS = 60.0
SHOWN = ("BLEU-4", "CIDEr-D")


def follow(ledger: Ledger, settings: Settings, run_id: int, *, quiet: bool = False) -> RunStatus:
    """Wait until a run is over. A keyboard interrupt leaves it running.

    Raises UserError where the local daemon ended and cannot be kept.
    """
    watch = _Watch(ledger, settings, run_id)
    if quiet:
        return deque(watch.statuses(), maxlen=1)[0]
    return _bar(watch) if sys.stderr.isatty() else _lines(watch)


def last_line(ledger: Ledger, run: RunStatus) -> str:
    """How a run ended, in a line."""
    took = duration(run.seconds or 0.0)
    if run.state != "done":
        said = f"run {run.run} {run.state} at step {run.step:,}{': ' + run.note if run.note else ''}"
        return f"{said}; blipq train --resume {run.run} goes on" if run.state == "cancelled" else said
    said = f"run {run.run}: {run.step:,} steps, {run.epoch:g} epochs in {took} ({run.note}), best step {run.best_step}"
    with ledger.read() as connection:
        figures = runs.evaluations(connection, run.run)
    before, after = figures.get(run.base, {}), figures.get(f"run:{run.run}", {})
    for name in SHOWN:
        if name in before and name in after:
            said += f", {name} {before[name]['value']:.3f} -> {after[name]['value']:.3f}"
    return f"{said}; blipq promote {run.run} --as NAME"


class _Watch:
    """A run's state again and again, and what was said of it since the last look."""

    def __init__(self, ledger: Ledger, settings: Settings, run_id: int) -> None:
        self._ledger, self._settings, self._run_id = ledger, settings, run_id
        self._remark = self._epoch = self._named = 0
        self._recent: deque[tuple[float, int]] = deque()

    def statuses(self) -> Iterator[RunStatus]:
        """Where the run stands, until it is over."""
        with self._ledger.read() as connection:
            job = runs.status(connection, self._run_id).job
        for _ in looks(self._ledger, self._settings, job):
            with self._ledger.read() as connection:
                now = runs.status(connection, self._run_id)
            yield now

    def news(self, run: RunStatus) -> list[str]:
        """Remarks and epochs that were not told yet."""
        said = []
        with self._ledger.read() as connection:
            remarks = runs.remarks(connection, self._run_id, self._remark)
            epochs = runs.epochs(connection, self._run_id, self._epoch)
        for row in remarks:
            self._remark = row["id"]
            self._named += bool(row["name"])
            if not row["name"]:
                said.append(row["message"])
            elif self._named <= 3:
                said.append(f"{row['kind']} {row['name']}: {row['message']}")
            elif self._named == 4:
                said.append(f"more of these: blipq runs {self._run_id}")
        for row in epochs:
            self._epoch = row["epoch"]
            held = "" if row["validation_loss"] is None else f", validation {row['validation_loss']:.4f}"
            said.append(
                f"run {self._run_id}: epoch {row['epoch']} of {run.epochs}, step {row['step']:,}: "
                f"loss {row['loss']:.4f}{held}, {duration(row['seconds'])}"
            )
        return said

    def left(self, run: RunStatus) -> str:
        """Steps a second over the last minute, and the time that the rest takes at that rate."""
        now = time.monotonic()
        self._recent.append((now, run.step))
        while now - self._recent[0][0] > RATE_SECONDS:
            self._recent.popleft()
        seconds, steps = now - self._recent[0][0], run.step - self._recent[0][1]
        if run.steps is None or steps <= 0 or seconds < 1:
            return ""
        return f"{steps / seconds:.3g}/s, {duration((run.steps - run.step) * seconds / steps)} left"


def _bar(watch: _Watch) -> RunStatus:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),  # what is said beside it needs the rest of 80 columns
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
    )
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        task = None
        for run in watch.statuses():
            task = progress.add_task(f"run {run.run}", total=None, said="") if task is None else task
            for line in watch.news(run):
                progress.print(line, markup=False)
            progress.update(task, total=run.steps, completed=run.step, said=_said(run, watch.left(run)))
    return run


def _lines(watch: _Watch) -> RunStatus:
    said_at = time.monotonic()
    for run in watch.statuses():
        news, left = watch.news(run), watch.left(run)
        if not news and time.monotonic() - said_at > LINE_SECONDS:
            steps = f"step {run.step:,} of {run.steps:,}" if run.step and run.steps else run.state
            news = [f"run {run.run}: {'; '.join(part for part in (steps, _said(run, left)) if part)}"]
        for line in news:
            said_at = time.monotonic()
            say(line)
    return run


def _said(run: RunStatus, left: str) -> str:
    if run.unsmoothed is None or run.step == run.steps:  # before the first step and after the last
        return run.note or ""
    return ", ".join(part for part in (f"loss {run.unsmoothed:.3f}, lr {run.learning_rate:.1e}", left) if part)
