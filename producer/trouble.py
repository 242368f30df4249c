"""Workers that cannot begin, for whoever waits: told once a reason, and no longer waited for after three starts."""

from __future__ import annotations

import time

from blipq.models import starts
from blipq.models.database import Ledger
from blipq.models.starts import Trouble
from blipq.producer.errors import UserError
from blipq.producer.output import say

LOOK_SECONDS = 1.0
NEWS_SECONDS = 5.0  # in which a daemon that begins anew has taken back what an earlier one said
DO = "`blipq doctor` says what is missing"


class Watchman:
    """Looks after the workers of a queue while somebody waits for a job."""

    def __init__(self, ledger: Ledger, queue: str, job_id: int) -> None:
        self._ledger, self._queue, self._job_id = ledger, queue, job_id
        self._since = time.monotonic()
        self._looked_at = -LOOK_SECONDS
        self._before: int | None = None  # a start that failed before anybody waited: what was wrong may be mended
        self._told: str | None = None

    def look(self) -> None:
        """Say what is new. Raises UserError where one start after the other fails, and no worker is elsewhere."""
        if time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        with self._ledger.read() as connection:
            found = starts.trouble(connection, self._queue)
        if self._before is None:
            self._before = found.newest if found else 0
        if found is None:
            return
        if found.starts >= starts.KEPT and found.newest > self._before:
            raise UserError(
                f"{found}. Job {self._job_id} stays queued: {DO}; once that is mended it goes on by itself, and "
                f"`blipq status {self._job_id} --watch` shows it"
            )
        old = found.newest <= self._before and time.monotonic() - self._since < NEWS_SECONDS
        if found.reason != self._told and not old:
            self._told = found.reason
            say(f"Warning: {line(found)}")


def line(found: Trouble) -> str:
    """What is wrong and what is done about it."""
    return f"{found}; it is started again and again ({DO})"
