"""The log of workers and their supervisor: one line an event, without passwords."""

from __future__ import annotations

import logging
import sys

from blipq.settings import Settings, redact

FORMAT = "%(asctime)s %(levelname)-7s %(processid)s %(message)s"


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.processid = f"[{record.process}]"
        return redact(super().format(record))


def configure(settings: Settings) -> None:
    """Log to stderr, which the supervisor leads to `$BLIPQ_HOME/log` or the terminal."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacted(FORMAT))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for chatty in ("celery", "kombu", "amqp", "httpx", "urllib3", "filelock", "PIL", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
