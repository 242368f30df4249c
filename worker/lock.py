"""The lock of the local daemon: at most one supervisor a home, and anybody can tell whether it lives."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

GLANCE_SECONDS = 0.3  # who asks whether the lock is held holds it for a moment himself


@dataclass(frozen=True)
class Holder:
    """The supervisor that holds the lock."""

    pid: int
    version: str


class DaemonLock:
    """`$BLIPQ_HOME/daemon.lock`: held exactly as long as its supervisor lives, however it ends."""

    def __init__(self, home: Path) -> None:
        self._path = home / "daemon.lock"
        self._held: int | None = None

    def take(self, version: str) -> bool:
        """Take the lock for this process; False where another holds it."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        end = time.monotonic() + GLANCE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    os.close(descriptor)
                    return False
                time.sleep(0.01)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"pid": os.getpid(), "version": version}).encode())
        self._held = descriptor
        return True

    def release(self) -> None:
        """Give the lock up."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def holder(self) -> Holder | None:
        """Who holds the lock; None where nobody does."""
        try:
            with open(self._path, "r+") as opened:
                try:
                    fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    said = json.loads(opened.read() or "{}")
                    return Holder(int(said.get("pid", 0)), str(said.get("version", "")))
        except (FileNotFoundError, ValueError):
            return None
        return None
