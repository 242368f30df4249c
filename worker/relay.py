"""From a training process's events to the ledger, at most once a second, each time under the unit's fence."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from blipq.models import lease as leases
from blipq.models import training
from blipq.models.database import LedgerError
from blipq.models.lease import Lease
from blipq.models.training import Checkpoint, Epoch, Figure, Run, Step
from blipq.worker.child import Child
from blipq.worker.engine.metrics import LABELS
from blipq.worker.engine.training.plan import Plan
from blipq.worker.plans import PLACES
from blipq.worker.reasons import ending
from blipq.worker.standing import Standing

TICK_SECONDS = 1.0
QUIET_SECONDS = 3600.0  # before its first step a run may download a data set, which gives no sign of life
FIT_SECONDS = 60.0  # over which steps a second are counted
CRASH = "error"  # a failure that another try may not meet
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a training process ended. Unless it was lost, its rows say so already but for a crash."""

    kind: Literal["done", "stopped", "failed", "lost", "crashed"]
    reason: str = ""


class Lost(Exception):
    """The unit is no longer ours: cancelled, or another's."""


class Relay:
    """One training process from its start to its end."""

    def __init__(
        self, standing: Standing, run: Run, lease: Lease, child: Child, stopping: Callable[[], bool], start: int
    ) -> None:
        """`stopping` is asked once a second: once true, the process is asked to save and stop.

        `start` is the step that the process goes on from. Checkpoints after it count until there is a newer one.
        """
        self._standing, self._settings = standing, standing.settings
        self._run, self._lease, self._child = run, lease, child
        self._stopping = stopping
        self._start: int | None = start  # None: what came after it is gone
        self._asked = False
        self._outcome: Outcome | None = None
        self._began = False
        self._recent: deque[tuple[float, int]] = deque()
        self._needed: list[Path] = []  # checkpoints that the ledger lists, newest first

    def run(self) -> Outcome:
        """Write down what the process says until it ends. Raises LedgerError where even its end cannot be written."""
        self._standing.pulse.place([self._lease.unit_id])
        try:
            outcome = self._follow()
        except Lost:
            outcome = Outcome("lost")
        except LedgerError:
            self._standing.pulse.idle()
            raise
        finally:
            self._child.kill()
        self._standing.pulse.idle()  # not after an error that nobody expected: it is blamed on the run
        return outcome

    def _follow(self) -> Outcome:
        heard = renewed = time.monotonic()
        pending: list[dict[str, Any]] = []
        while not (self._child.ended and not pending):
            pending += [] if pending else self._child.events(TICK_SECONDS)
            now = time.monotonic()
            if self._lease.unit_id in self._standing.lost():
                raise Lost
            if pending or now - renewed > self._settings.lease / 4:
                heard = now if pending else heard
                if self._write(pending):
                    renewed, pending = now, []
                    if self._outcome is not None:
                        return self._outcome
            if not self._asked and self._stopping():
                self._asked = True
                self._child.ask_to_stop()
            if now - heard > (self._settings.batch_limit if self._began else QUIET_SECONDS):
                return Outcome("crashed", f"nothing was heard of it for {now - heard:.0f} s")
        return self._ending(self._child.wait())

    def _write(self, events: Sequence[dict[str, Any]]) -> bool:
        """One transaction; False where the ledger cannot be written now: the events are kept, the process waits."""
        try:
            with self._standing.ledger.write() as connection:
                if not leases.renew(connection, [self._lease], self._settings.lease):
                    raise Lost
                self._store(connection, events)
        except LedgerError as error:
            _log.error("halted: %s", error)
            if self._standing.stopping.wait(TICK_SECONDS):
                raise
            return False
        for event in events:
            self._hear(event)
        if any(event["event"] == "saved" for event in events):
            self._start = None
            self._tidy()
        return True

    def _store(self, connection: Connection, events: Sequence[dict[str, Any]]) -> None:
        run, said = self._run, None
        if any(event["event"] == "saved" for event in events):
            self._supersede(connection)
        steps = [
            Step(e["step"], e["epoch"], e["loss"], e["unsmoothed"], e["lr"], e["grad_norm"])
            for e in events
            if e["event"] == "step"
        ]
        training.add_steps(connection, run.id, steps)
        for event in events:
            match event["event"]:
                case "started":
                    plan = {name: value for name, value in event["plan"].items() if name not in PLACES}
                    if "devices" not in run.plan:
                        plan.pop("devices")
                    training.begin(connection, run.id, plan=plan, pictures=event["pictures"], steps=event["steps"])
                case "epoch":
                    training.add_epoch(connection, run.id, Epoch(**_without_name(event)))
                case "saved":
                    self._store_checkpoint(connection, event)
                case "evaluation":
                    self._store_evaluation(connection, event)
                case "note":
                    training.add_remark(connection, run.id, event["kind"], event["name"], event["message"])
                case "progress":
                    said = f"{event['what']}: {event['done']:,} of {event['total']:,}"
                case "stopped" | "done" | "failed":
                    self._store_end(connection, event)
        if events and self._outcome is None:
            training.note(connection, run.id, said)

    def _supersede(self, connection: Connection) -> None:
        """Before our first checkpoint is listed: those after the step that we went on from count no more."""
        if self._start is None:
            return
        for old in training.supersede(connection, self._run, self._start):
            if old.run_folder != self._run.folder:
                where = f"on host {old.host}" if old.host else "perhaps on another host"
                message = f"the checkpoint of step {old.step:,} counts no more and lies {where}: {old.path}"
                training.add_remark(connection, self._run.id, "left behind", None, message)

    def _store_checkpoint(self, connection: Connection, event: dict[str, Any]) -> None:
        run = self._run
        saved = Checkpoint(
            step=event["step"],
            path=Path(event["path"]),
            sha256=bytes.fromhex(event["sha256"]),
            is_best=event["is_best"],
            host=socket.gethostname(),
        )
        training.add_checkpoint(connection, run, saved, event["best_step"])
        self._needed = training.tidy(connection, run, run.plan.get("keep", Plan.keep))

    def _store_evaluation(self, connection: Connection, event: dict[str, Any]) -> None:
        run = self._run
        figures = {LABELS[name]: Figure(**metric) for name, metric in event["metrics"].items()}
        model = run.base if event["model"] == "base" else f"run:{run.id}"
        training.add_evaluation(
            connection, run.id, data=run.data, model=model, figures=figures, pictures=event["pictures"]
        )
        for name, message in event["missing"].items():
            training.add_remark(connection, run.id, "evaluation", None, f"no {LABELS.get(name, name)}: {message}")
        for message in event["warnings"]:
            training.add_remark(connection, run.id, "evaluation", None, message)

    def _store_end(self, connection: Connection, event: dict[str, Any]) -> None:
        run = self._run
        if event["event"] == "done":
            training.end(connection, run.id, event["reason"])
            leases.count(connection, {self._lease.unit_id: (1, 0)})
            self._outcome = Outcome("done", event["reason"])
        elif event["event"] == "stopped":
            training.note(connection, run.id, None)
            leases.hand_back(connection, [self._lease], preempted=True)
            self._outcome = Outcome("stopped")
        elif event["kind"] == CRASH:
            self._outcome = Outcome("crashed", event["message"])
        else:
            fail(connection, run, self._lease, event["message"])
            self._outcome = Outcome("failed", event["message"])

    def _tidy(self) -> None:
        """Delete the checkpoints that the ledger no longer lists, but not those of which we have not heard yet."""
        prefix, newest = f"f{self._lease.fence}-", self._needed[0]
        assert self._run.folder is not None
        for path in self._run.folder.glob("f*-????????"):
            if path not in self._needed and not (path.name.startswith(prefix) and path.name > newest.name):
                shutil.rmtree(path, ignore_errors=True)

    def _hear(self, event: dict[str, Any]) -> None:
        """What an event means for the process and for the worker's row, once it is written."""
        if event["event"] == "step":
            self._began = True
            now = time.monotonic()
            self._recent.append((now, event["step"]))
            while now - self._recent[0][0] > FIT_SECONDS:
                self._recent.popleft()
            seconds = now - self._recent[0][0]
            if seconds > 1:
                self._standing.show(rate=(event["step"] - self._recent[0][1]) / seconds)
        elif event["event"] == "started":
            self._standing.show(device=event["device"])
        elif event["event"] == "progress" and self._asked and event["what"].startswith("captions of"):
            self._child.kill()  # the last checkpoint is saved: only this comparison is made again

    def _ending(self, status: int) -> Outcome:
        """What an end without a last word means."""
        if self._asked and status in (0, -signal.SIGTERM, -signal.SIGKILL):
            with self._standing.ledger.write() as connection:
                if leases.renew(connection, [self._lease], self._settings.lease):
                    leases.hand_back(connection, [self._lease], preempted=True)
            return Outcome("stopped")
        return Outcome("crashed", f"it {ending(status)}")


def fail(connection: Connection, run: Run, lease: Lease, reason: str) -> None:
    """End a run that cannot go on; its unit waits for a retry."""
    leases.hand_back(connection, [lease])
    leases.fail_job(connection, run.job_id, reason)
    training.end(connection, run.id, reason)


def _without_name(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "event"}
