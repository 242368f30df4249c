"""The start of a worker process: `python -m blipq.worker.start` is Celery's own command, but says why it cannot begin.

What fails here reaches the ledger, where `status` and whoever waits find it, or else the log alone.
"""

from __future__ import annotations

import logging
import sys

from blipq import settings
from blipq.worker.reasons import reason

CRASHED = 70  # our exit status after an error that nobody expected; the supervisor starts a fresh process
_log = logging.getLogger(__name__)


def cannot_begin(queue: str, why: str, worker_id: int | None = None) -> None:
    """Note in log and ledger that a worker of this host cannot begin; in its own row, where it has one."""
    _log.error("the %s worker cannot begin: %s", queue, why)
    try:
        from blipq.models import starts
        from blipq.models.database import open_ledger

        asked = settings.load()
        with open_ledger(asked).write() as connection:
            starts.failed(connection, queue=queue, device=asked.device, reason=why, worker_id=worker_id)
    except Exception as error:  # the database is away, or what is missing is needed for it: its supervisor tells
        _log.error("that is not in the ledger: %s", reason(error))


def main() -> None:
    """Import all that a worker needs before Celery does, whose own words about it are many lines."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s")
    try:
        from celery.__main__ import main as celery

        import blipq.worker.tasks  # noqa: F401 (what Celery would import)
    except BaseException as error:
        cannot_begin(sys.argv[sys.argv.index("-Q") + 1], reason(error))
        sys.exit(CRASHED)
    celery()


if __name__ == "__main__":
    main()
