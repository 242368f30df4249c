"""The Celery application: it carries doorbells ("unit 17 is due") and nothing else. Imported by whoever rings."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Collection

from celery import Celery

from blipq import settings
from blipq.settings import Settings
from blipq.worker.broker import TIMEOUT, BrokerError, broker_url, explain, open_client

# Celery's advice against root is about pickled messages; ours are JSON, and carry numbers alone.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

MUTE_SECONDS = 5.0  # that a broker which failed is left alone: an enqueue rings twice, and must not wait twice
RINGS = 64  # doorbells at once, 1 KB each: enough to wake as many workers; sweepers ring for the rest

app = Celery("blipq", broker=broker_url(settings.load()), include=["blipq.worker.tasks"])
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # A lost message costs seconds (the sweeper rings again), a redelivered one would run a long task twice.
    task_acks_late=False,
    task_publish_retry=False,
    task_create_missing_queues=True,
    task_routes={"blipq.caption": {"queue": "caption"}, "blipq.train": {"queue": "train"}},
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=False,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Without it a frozen broker hangs whoever rings, for good.
    broker_transport_options={"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT},
)

_log = logging.getLogger(__name__)


_failed: tuple[float, BrokerError] | None = None  # when and how the last ring of this process did


def ring(asked: Settings, queue: str, unit_ids: Collection[int]) -> None:
    """Ring for some units, a thousandth of a second each. Raises BrokerError; the units stay due all the same."""
    global _failed
    if _failed is not None and time.monotonic() - _failed[0] < MUTE_SECONDS:
        raise _failed[1]
    try:
        _ring(asked, queue, unit_ids)
        _failed = None
    except BrokerError as error:
        _failed = (time.monotonic(), error)
        raise


def _ring(asked: Settings, queue: str, unit_ids: Collection[int]) -> None:
    try:
        with open_client(asked):  # says in one line what is wrong, where Celery would try for long
            pass
        with app.connection_for_write() as connection:
            producer = app.amqp.Producer(connection)
            for unit_id in list(unit_ids)[:RINGS]:
                app.send_task(f"blipq.{queue}", args=[unit_id], producer=producer, ignore_result=True)
    except BrokerError:
        raise
    except Exception as error:  # kombu wraps and renames what redis-py raises
        raise explain(error, asked) from None


def is_silent(asked: Settings, queue: str) -> bool:
    """Whether no doorbell waits in a queue: only then is another one worth its kilobyte. Raises BrokerError."""
    with open_client(asked) as client:
        return not client.llen(queue)
