"""The tasks that a doorbell starts: the one place where queue, ledger and engine meet."""

from __future__ import annotations

import logging
import os
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from celery.signals import celeryd_after_setup, setup_logging, worker_shutdown, worker_shutting_down

from blipq import settings
from blipq.models import attempts, fleet, starts
from blipq.models.database import LedgerError, open_ledger
from blipq.models.migrate import check_schema
from blipq.worker import log
from blipq.worker.app import app
from blipq.worker.captioning import Captioning
from blipq.worker.pulse import Pulse, inherited
from blipq.worker.reasons import CannotBegin, NeedsFreshProcess, reason
from blipq.worker.standing import Standing
from blipq.worker.start import CRASHED, cannot_begin

NEEDED = ("blipq", "torch", "transformers", "pillow")
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
    (queue,) = instance.app.amqp.queues.consume_from
    try:
        _begin(queue, pulse)
    except BaseException as error:  # Celery would log it and go on, deaf
        told = isinstance(error, (LedgerError, CannotBegin))
        if not told:
            _log.info("in detail", exc_info=error)
        cannot_begin(queue, str(error) if told else reason(error))
        os._exit(CRASHED)


def _begin(queue: str, pulse: Pulse) -> None:
    global _standing, _work
    asked = settings.load()
    ledger = open_ledger(asked)
    check_schema(ledger)
    versions = ", ".join(f"{name} {_version(name)}" for name in NEEDED)
    _standing = Standing(ledger, asked, queue, asked.device, versions, pulse)
    if queue == "caption":
        _work = Captioning(_standing, asked)
    else:
        from blipq.worker.training import Training

        _work = Training(_standing, asked)
        with ledger.write() as connection:
            starts.begun(connection, queue, asked.device)  # nothing more is needed here: its child has what it takes
    _standing.start()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise CannotBegin(f"the package {name} is not installed: pip install {name}") from None


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
    except CannotBegin as error:
        cannot_begin(_standing.queue, str(error), _standing.worker_id)
        os._exit(CRASHED)
    except NeedsFreshProcess as error:
        _log.warning("the device took harm, and a fresh process goes on: %s", error)
        _leave_the_ledger(None, str(error))
        os._exit(CRASHED)
    except BaseException as error:
        # What a process cannot survive is a crash: what was on the model is suspect, and a fresh process goes on.
        _log.exception("the worker failed and starts anew")
        _leave_the_ledger(f"failed ({reason(error)})", reason(error))
        os._exit(CRASHED)


def _leave_the_ledger(how: str | None, note: str) -> None:
    """Give up what this process holds; `how` it dies counts against what it was at, and None is nobody's fault."""
    assert _standing is not None
    try:
        with _standing.ledger.write() as connection:
            attempts.bury(connection, _standing.worker_id, how, _standing.pulse.on_model)
            fleet.seen(connection, _standing.worker_id, state="stopped", note=note)
    except Exception as error:  # its supervisor does the same
        _log.error("%s", reason(error))
