"""The Celery application: it carries doorbells ("unit 17 is due") and nothing else. Imported by whoever rings."""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

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
_producer: Any = None  # kept: to connect takes 5 ms, to ring 0.4
_hand = threading.Lock()  # one thread rings at a time


def ring(asked: Settings, queue: str, unit_ids: Collection[int]) -> None:
    """Ring for some units, 0.4 ms each. Raises BrokerError; the units stay due all the same."""
    global _failed
    with _hand:
        if _failed is not None and time.monotonic() - _failed[0] < MUTE_SECONDS:
            raise _failed[1]
        try:
            _ring(asked, queue, list(unit_ids)[:RINGS])
            _failed = None
        except BrokerError as error:
            _failed = (time.monotonic(), error)
            raise


def _ring(asked: Settings, queue: str, unit_ids: Sequence[int]) -> None:
    global _producer
    began = time.monotonic()
    try:
        if _producer is not None:
            try:
                return _send(_producer, queue, unit_ids)
            except Exception:
                _hang_up()
                if time.monotonic() - began > TIMEOUT / 2:  # it hangs, and would only hang again
                    raise
        with open_client(asked):  # says in one line what is wrong, where Celery would try for long
            pass
        _producer = app.amqp.Producer(app.connection_for_write())
        _send(_producer, queue, unit_ids)
    except BrokerError:
        raise
    except Exception as error:  # kombu wraps and renames what redis-py raises
        _hang_up()
        raise explain(error, asked) from None


def _send(producer: Any, queue: str, unit_ids: Sequence[int]) -> None:
    for unit_id in unit_ids:
        app.send_task(f"blipq.{queue}", args=[unit_id], producer=producer, ignore_result=True)


def _hang_up() -> None:
    global _producer
    if _producer is not None:
        with suppress(Exception):  # of a connection that is broken already
            _producer.connection.close()
        _producer = None


def is_silent(asked: Settings, queue: str) -> bool:
    """Whether no doorbell waits in a queue: only then is another one worth its kilobyte. Raises BrokerError."""
    with open_client(asked) as client:
        return not client.llen(queue)
