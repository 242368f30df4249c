"""The tasks that a doorbell starts: the one place where queue, ledger and engine meet."""

from __future__ import annotations

import logging
import os
import threading
from importlib.metadata import version
from typing import Any, Protocol

from celery.signals import celeryd_after_setup, setup_logging, worker_shutdown, worker_shutting_down

from blipq import settings
from blipq.models import lease
from blipq.models.database import LedgerError, open_ledger
from blipq.models.migrate import check_schema
from blipq.worker import log
from blipq.worker.app import app
from blipq.worker.captioning import Captioning
from blipq.worker.pulse import Pulse, inherited
from blipq.worker.standing import Standing

CRASHED = 70  # our exit status after an error that nobody expected; the supervisor starts a fresh process
_log = logging.getLogger(__name__)


class Work(Protocol):
    """What a queue's worker does when the bell rings."""

    def drain(self) -> None:
        """Do what is due until nothing is."""

    def close(self) -> None:
        """Give back processes and memory."""


_draining = threading.Lock()  # held while anything is claimed
_standing: Standing | None = None
_work: Work | None = None


@setup_logging.connect
def begin_log(**_: Any) -> None:
    """Our log, not Celery's."""
    log.configure(settings.load())


@celeryd_after_setup.connect
def begin(instance: Any, **_: Any) -> None:
    """Take a place in the ledger for the queue that this process serves, and be heard of from now on."""
    pulse = inherited(settings.load().batch_limit)
    pulse.start()
    try:
        _begin(instance, pulse)
    except Exception as error:  # Celery would log it and go on, deaf
        _log.error("the worker cannot begin: %s", error, exc_info=not isinstance(error, LedgerError))
        os._exit(CRASHED)


def _begin(instance: Any, pulse: Pulse) -> None:
    global _standing, _work
    asked = settings.load()
    (queue,) = instance.app.amqp.queues.consume_from
    ledger = open_ledger(asked)
    check_schema(ledger)
    versions = ", ".join(f"{name} {version(name)}" for name in ("blipq", "torch", "transformers", "pillow"))
    _standing = Standing(ledger, asked, queue, asked.device, versions, pulse)
    if queue == "caption":
        _work = Captioning(_standing, asked)
    else:
        from blipq.worker.training import Training

        _work = Training(_standing, asked)
    _standing.start()


@worker_shutting_down.connect
def stop(**_: Any) -> None:
    """SIGTERM: the loop ends after the present batch and hands the rest back; then this process ends.

    Celery's own way out takes 1 to 2 s more, or 5 and more where the broker hangs, and only saves doorbells.
    """
    if _standing is not None:
        _standing.stopping.set()
    threading.Thread(target=_leave, name="leaving").start()


def _leave() -> None:
    with _draining:
        try:
            end()
        finally:
            os._exit(0)


@worker_shutdown.connect
def end(**_: Any) -> None:
    """Leave the ledger in order."""
    if _work is not None:
        _work.close()
    if _standing is not None:
        _standing.end()


@app.task(name="blipq.caption")
def caption(unit_id: int) -> None:
    """Something is due: caption until nothing is. `unit_id` only says why the bell rang."""
    _drain()


@app.task(name="blipq.train")
def train(unit_id: int) -> None:
    """A training run is due: run what is due until nothing is."""
    _drain()


def _drain() -> None:
    assert _work is not None
    assert _standing is not None
    try:
        with _draining:
            _work.drain()
    except LedgerError as error:
        _log.error("halted: %s", error)
    except Exception:
        # What a process cannot survive is a crash: what was on the model is suspect, and a fresh process goes on.
        _log.exception("the worker failed and starts anew")
        try:
            with _standing.ledger.write() as connection:
                lease.expire(connection, _standing.worker_id, _standing.pulse.on_model)
        finally:
            os._exit(CRASHED)
