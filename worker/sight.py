"""How well a worker sees the ledger: only after a lease without a break does it call others' leases lapsed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from blipq.models.database import CONNECT_SECONDS

BEAT_SECONDS = 5.0


class Sight:
    """Kept by the heartbeat, which writes: SQLite can be read while another program keeps everybody from writing.

    When a database comes back after it was away for longer than a lease, everybody's leases look lapsed. Those who live
    renew theirs at their next heartbeat, or once a connection that just fails is given up: within a lease. So whoever
    has written for as long without a break knows that what has lapsed now is not renewed any more.
    """

    def __init__(self, lease: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.beat_seconds = min(BEAT_SECONDS, lease / 3)
        self._settle_seconds = max(lease, CONNECT_SECONDS + 2 * self.beat_seconds)
        self._break_seconds = 2 * lease / 3  # longer, and another's lease may have ended that was renewed a beat before
        self._clock = clock
        self._since = self._last = -math.inf

    def wrote(self) -> None:
        """The heartbeat was written."""
        now = self._clock()
        if now - self._last > self._break_seconds:
            self._since = now
        self._last = now

    def failed(self) -> None:
        """The heartbeat could not be written."""
        self._last = -math.inf

    def is_clear(self) -> bool:
        """Whether a lease that has ended was let lapse; to be asked where a write is just possible."""
        now = self._clock()
        return now - self._last <= self._break_seconds and now - self._since > self._settle_seconds
