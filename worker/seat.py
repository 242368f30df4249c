"""A place for one worker process: started, watched, and what is known of its death."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from blipq.settings import Settings
from blipq.worker.pulse import PULSE, SUPERVISOR, Monitor, Vitals

QUICK_SECONDS = 10.0  # a worker that ends sooner, and before it got any work, is restarted ever more slowly
SLOWEST_RESTART = 30.0
SURE_SECONDS = 5.0  # from when a worker was last seen to live until the ledger answers; later, and it was perhaps away


@dataclass
class Death:
    """What a worker said last, and whether it died while the ledger could be reached."""

    vitals: Vitals
    seen_alive_at: float
    doubtful: bool = False  # the ledger could not be reached

    def guilty(self) -> tuple[int, ...]:
        """The units that it died of; to be asked when the ledger answers.

        None of them where that is doubtful.
        """
        return () if self.is_doubtful() else self.vitals.on_model

    def is_doubtful(self) -> bool:
        """Whether the ledger was away, or we were (frozen, asleep): nobody saw then what else happened."""
        return self.doubtful or time.monotonic() - self.seen_alive_at > SURE_SECONDS


@dataclass
class Seat:
    """A place for one worker: its queue and device."""

    queue: str
    device: str
    number: int
    process: subprocess.Popen[bytes] | None = None
    monitor: Monitor = field(default_factory=Monitor)
    death: Death | None = None
    _started_at: float = 0.0
    _start_after: float = 0.0
    _seen_alive_at: float = 0.0
    _quick_ends: int = 0

    def start(self, settings: Settings) -> None:
        """Start a worker, where it is time."""
        if time.monotonic() >= self._start_after:
            self.monitor.reset()
            self.death = None
            self.process = _start(self, settings)
            self._started_at = self._seen_alive_at = time.monotonic()

    def exit_status(self) -> int | None:
        """The status with which the worker ended; None while it lives."""
        assert self.process is not None
        status = self.process.poll()
        if status is None:
            self._seen_alive_at = time.monotonic()
        elif self.death is None:
            self.death = Death(self.monitor.vitals(), self._seen_alive_at)
        return status

    def vacate(self, *, had_work: bool) -> bool:
        """Let another worker be started, the later the sooner and the oftener workers end here without any work.

        Whether this one ended so.
        """
        quick = time.monotonic() - self._started_at < QUICK_SECONDS and not had_work
        self._quick_ends = self._quick_ends + 1 if quick else 0
        self._start_after = time.monotonic() + min(SLOWEST_RESTART, 2.0 ** (self._quick_ends - 1) - 1)
        self.process = None
        return quick


def _start(seat: Seat, asked: Settings) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "blipq.worker.start", "-q", "-A", "blipq.worker.app", "worker"]
    command += ["-Q", seat.queue]
    command += ["-P", "threads", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    command += ["-n", f"{seat.queue}.{seat.number}@%h"]
    # Threads that spin at barriers wait for each other on cores that others use too: tenfold slower, measured.
    environment = (
        {"OMP_WAIT_POLICY": "PASSIVE"}
        | os.environ
        | {"BLIPQ_DEVICE": seat.device, "PYTHONUNBUFFERED": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    )
    pulse = seat.monitor.descriptor
    environment |= {SUPERVISOR: str(os.getpid()), PULSE: str(pulse)}
    folder = asked.home if asked.home.is_dir() else Path("/")
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, which then asks its workers to stop.
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, env=environment, cwd=folder, process_group=0, pass_fds=[pulse]
    )
