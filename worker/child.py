"""The process that trains, seen from its worker: started, asked to stop, killed, and its events as they come."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOM = 2000  # events that wait here; past that the process waits, so a ledger that halts halts the run too
_log = logging.getLogger(__name__)


class Child:
    """`python -m blipq.worker.engine.training.child`. It dies with the thread that started it."""

    def __init__(self, plan: dict[str, Any], resume: Path | None) -> None:
        command = [sys.executable, "-P", "-m", "blipq.worker.engine.training.child"]
        command += ["--resume", str(resume)] if resume else []
        # OpenMP's threads spin at barriers by default: on two busy cores a step took 3.46 s, and 0.16 s so.
        environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment
        )
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue(ROOM)
        self.ended = False
        self._reader = threading.Thread(target=self._read, name="events", daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(json.dumps(plan))

    def events(self, seconds: float) -> list[dict[str, Any]]:
        """What was said within so many seconds, at most `ROOM` events; `ended` once nothing more will come."""
        end = time.monotonic() + seconds
        said: list[dict[str, Any]] = []
        while not self.ended and len(said) < ROOM:
            try:
                event = self._events.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            if event is None:
                self.ended = True
            else:
                said.append(event)
        return said

    def ask_to_stop(self) -> None:
        """SIGTERM: it finishes its step, saves and ends."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; whole checkpoints stay."""
        self._process.kill()
        self.wait()

    def wait(self) -> int:
        """The exit status, once it is there."""
        while not self.ended:
            self.events(1.0)
        return self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    self._events.put(json.loads(line))
                except ValueError:  # the last line of a process that was killed
                    _log.warning("the training process said %r", line[:200])
        self._events.put(None)
