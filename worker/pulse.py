"""A worker's pulse: signs of life, and what is on its model, in memory that it shares with its supervisor.

No database and no network lies between the two: a worker whose database is away is healthy, and its supervisor sees so.
What it wrote last is still there when it is dead, so that a crash is blamed on the units that were on the model then.
"""

from __future__ import annotations

import logging
import os
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

SUPERVISOR = "_BLIPQ_SUPERVISOR"  # the variable that tells a worker whose child it is: it ends when that one does
PULSE = "_BLIPQ_PULSE"  # the variable that names the descriptor of the shared memory
BEAT_SECONDS = 1.0
LOOK_SECONDS = 2.0  # between two looks of a supervisor
FROZEN_LOOKS = 15  # without a beat between them: 30 s, as loading CUDA's libraries from a slow disk stops every thread
START_LOOKS = 60  # by which a process must have begun to beat; it takes 2 s on an idle machine
HUNG = 71  # a worker's exit status when a batch was past its limit
_BEATS = struct.Struct("=Q")
_WORKER = struct.Struct("=q")
_COUNT = struct.Struct("=I")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Vitals:
    """What a worker last said: its row's id (0 before it has one), and the units that are on its model."""

    beats: int
    worker_id: int
    on_model: tuple[int, ...]


class Pulse:
    """The worker's end, which beats in a thread of its own that touches no database.

    A batch (or step) that is older than its limit ends the process: a device that hangs must not keep a lease for ever.
    """

    def __init__(self, limit: float, descriptor: int | None = None) -> None:
        """`limit`: seconds that a batch may take. Without a descriptor there is no supervisor who looks."""
        self.on_model: tuple[int, ...] = ()
        self._limit = limit
        self._descriptor = descriptor
        self._parent = int(os.environ.get(SUPERVISOR, os.getppid()))
        self._orphaned = False
        self._beats = 0
        self._busy_since: float | None = None

    def start(self) -> None:
        """Begin to beat."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def name(self, worker_id: int) -> None:
        """Say which row of `worker` this process has."""
        self._write(_BEATS.size, _WORKER.pack(worker_id))

    def busy(self, unit_ids: Collection[int] = ()) -> None:
        """A batch (or step) of some units begins, 2 µs: the limit of its time counts from now."""
        self.place(unit_ids)
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        """Nothing runs on the device."""
        self._busy_since = None
        self.place(())

    def place(self, unit_ids: Collection[int]) -> None:
        """Say what is on the device, for as long as it takes: a run, whose process is watched by itself."""
        if tuple(unit_ids) != self.on_model:
            self.on_model = tuple(unit_ids)
            packed = struct.pack(f"={len(unit_ids)}q", *unit_ids)
            self._write(_BEATS.size + _WORKER.size, _COUNT.pack(len(unit_ids)) + packed)

    def _run(self) -> None:
        while True:
            self._beats += 1
            self._write(0, _BEATS.pack(self._beats))
            if os.getppid() != self._parent and not self._orphaned:
                self._orphaned = True  # said once: a second SIGTERM would not wait for the batch
                _log.error("the supervisor is gone: this worker ends after its batch")
                os.kill(os.getpid(), signal.SIGTERM)
            began = self._busy_since
            if began is not None and time.monotonic() - began > self._limit:
                _log.error("a batch hangs for more than %g s (BLIPQ_BATCH_LIMIT): the worker ends", self._limit)
                os._exit(HUNG)
            time.sleep(min(BEAT_SECONDS, self._limit / 4))

    def _write(self, offset: int, data: bytes) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # of a full disk, where the memory is a file: a beat less
                os.pwrite(self._descriptor, data, offset)


def inherited(limit: float) -> Pulse:
    """The pulse of this process, which its supervisor looks at where one started it."""
    named = os.environ.pop(PULSE, None)
    if named is None:
        return Pulse(limit)
    os.set_inheritable(int(named), False)
    return Pulse(limit, int(named))


class Monitor:
    """The supervisor's end of one worker's pulse."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            self.descriptor = os.memfd_create("blipq-pulse")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        self.reset()

    def reset(self) -> None:
        """Forget what another worker said here: a new one is started."""
        os.pwrite(self.descriptor, bytes(_BEATS.size + _WORKER.size + _COUNT.size), 0)
        self._last = 0
        self._silent_looks = 0

    def vitals(self) -> Vitals:
        """What the worker last said, alive or dead."""
        (beats,) = _BEATS.unpack(os.pread(self.descriptor, _BEATS.size, 0))
        (worker_id,) = _WORKER.unpack(os.pread(self.descriptor, _WORKER.size, _BEATS.size))
        start = _BEATS.size + _WORKER.size
        (count,) = _COUNT.unpack(os.pread(self.descriptor, _COUNT.size, start))
        units = os.pread(self.descriptor, 8 * count, start + _COUNT.size)
        return Vitals(beats, worker_id, struct.unpack(f"={len(units) // 8}q", units[: len(units) // 8 * 8]))

    def has_stopped(self) -> bool:
        """Whether the worker is frozen or never began; to be asked every `LOOK_SECONDS`.

        Looks count, not seconds: a supervisor that slept (a laptop, a paused machine) has not looked meanwhile.
        """
        beats = self.vitals().beats
        self._silent_looks = self._silent_looks + 1 if beats == self._last else 0
        self._last = beats
        return self._silent_looks >= (FROZEN_LOOKS if beats else START_LOOKS)
