"""The training loop: the run whose turn it is, in a process of its own, until nothing is due."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.exc import SQLAlchemyError

from blipq.models import attempts, control, lease, training
from blipq.models.control import NoSuchJob
from blipq.models.database import LedgerError
from blipq.models.lease import MOST_LAPSES, DueJob, Lease
from blipq.models.schema import unit
from blipq.models.training import Checkpoint, Run, RunError
from blipq.models.weights import HubUnreachable, UnknownModel, Weights
from blipq.settings import Settings
from blipq.worker import plans
from blipq.worker.child import Child
from blipq.worker.reasons import reason
from blipq.worker.relay import Outcome, Relay, fail
from blipq.worker.standing import Standing
from blipq.worker.weights import folder_of

CRASHES = 3  # without a new checkpoint between them, after which a run is given up
HUB_AGAIN_SECONDS = 30.0
SHARE_AGAIN_SECONDS = 5.0
WEIGHTS, STATE = "model.safetensors", "training.safetensors"
_log = logging.getLogger(__name__)


class Training:
    """The worker of the `train` queue: no torch in it, one run at a time in a child process."""

    def __init__(self, standing: Standing, settings: Settings) -> None:
        self._standing = standing
        self._ledger = standing.ledger
        self._settings = settings

    def drain(self) -> None:
        """Train all that is due. Returns when nothing is, when the queue is paused, or when the worker stops."""
        while not self._standing.stopping.is_set():
            with self._ledger.read() as connection:
                due = [] if control.is_paused(connection, "train") else lease.due(connection, "train")
            if not due:
                return
            self._standing.show(state="running", model=due[0].model)
            try:
                self._serve(due[0])
            finally:
                self._standing.show(state="idle", model=None, rate=None, note=None)

    def close(self) -> None:
        """Nothing is left: a run's process ends before `drain` does."""

    def _serve(self, due: DueJob) -> None:
        """Do a due job, or let its row say why not."""
        with self._ledger.read() as connection:
            run = training.read(connection, job_id=due.job_id)
        if self._yields():
            self._postpone(run, SHARE_AGAIN_SECONDS, "waits until the captions are done (BLIPQ_SHARE_DEVICE=false)")
            return
        base = self._base(run)
        if base is None:
            return
        found, base_folder = base
        held = self._claim(run)
        if held is None:
            return
        if due.attempts:
            with self._ledger.write() as connection:
                attempts.proven(connection, run.job_id)
        self._standing.hold([held])
        try:
            folder = self._folder(run)
            with self._ledger.write() as connection:
                training.settle(connection, run.id, base=found.pinned, weights=found.id, folder=folder)
                run = training.read(connection, run_id=run.id)
            outcome = self._train_or_crash(run, held, base_folder)
            if outcome.kind == "crashed":
                self._count_crash(run, outcome.reason)
            _log.info("run %d: %s %s", run.id, outcome.kind, outcome.reason)
        finally:
            self._standing.let_go([held.unit_id])

    def _base(self, run: Run) -> tuple[Weights, Path] | None:
        """The base that a run begins from and where it lies; None where the run waits for it or failed."""
        try:
            return self._fetch(run)
        except (LedgerError, SQLAlchemyError):
            raise
        except HubUnreachable as error:
            again = f"tried again every {HUB_AGAIN_SECONDS:.0f} s"
            self._postpone(run, HUB_AGAIN_SECONDS, f"{error}; {again}")
        except UnknownModel as error:
            with self._ledger.write() as connection:
                lease.fail_job(connection, run.job_id, str(error))
                training.end(connection, run.id, str(error))
        except BaseException as error:  # converting weights meets files of any kind
            _log.warning("run %d: its base cannot be made ready", run.id, exc_info=error)
            with self._ledger.write() as connection:
                counted = attempts.failed_to_load(connection, run.job_id, reason(error))
            if not counted:
                self._standing.stopping.wait(SHARE_AGAIN_SECONDS)
        return None

    def _fetch(self, run: Run) -> tuple[Weights, Path]:
        """While the ledger says so: a death over a base counts against its run."""
        with self._ledger.write() as connection:
            attempts.loads(connection, self._standing.worker_id, run.job_id, run.base)
        try:
            found = plans.resolve_base(self._ledger, run.base, run.weights)
            return found, folder_of(self._settings, found, lambda message: self._standing.show(note=message))
        finally:
            with self._ledger.write() as connection:
                attempts.loaded(connection, self._standing.worker_id)

    def _train_or_crash(self, run: Run, held: Lease, base: Path) -> Outcome:
        """As `_train`; whatever else it raises is a crash with a reason, and not the end of this worker."""
        try:
            return self._train(run, held, base)
        except (LedgerError, SQLAlchemyError):
            raise
        except Exception as error:
            _log.warning("run %d: its process cannot be started or followed", run.id, exc_info=error)
            return Outcome("crashed", reason(error))

    def _claim(self, run: Run) -> Lease | None:
        """Lease the run's unit; gives a run up whose workers died again and again."""
        with self._ledger.write() as connection:
            held = lease.claim(connection, self._standing.worker_id, run.job_id, self._settings.lease, 1, alone=True)
            if held and held[0].crashes >= CRASHES:
                fail(connection, run, held[0], _given_up(run, "its process or its worker was killed"))
                return None
            if held and held[0].lapses >= MOST_LAPSES:
                fail(connection, run, held[0], _vanished(run, held[0].lapses))
                return None
        return held[0] if held else None

    def _train(self, run: Run, held: Lease, base: Path) -> Outcome:
        """Start or go on with a run whose lease is held, and follow it to its end."""
        assert run.folder is not None
        try:
            run.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            newest = self._newest(run)
            data = plans.open_corrections(self._ledger, run.data, run.folder)
        except (RunError, NoSuchJob, OSError) as error:
            with self._ledger.write() as connection:
                if lease.renew(connection, [held], self._settings.lease):
                    fail(connection, run, held, str(error))
            return Outcome("failed", str(error))
        with self._ledger.write() as connection:
            if not lease.renew(connection, [held], self._settings.lease):
                return Outcome("lost")
            training.rewind(connection, run.id, newest.step if newest else 0)
            training.note(connection, run.id, "the training process starts")
        plan = plans.engine_plan(
            self._settings, run.plan, base=base, data=data, out=run.folder, prefix=f"f{held.fence}-"
        )
        _log.info("run %d %s", run.id, f"goes on from step {newest.step}" if newest else "begins")
        child = Child(plan, newest.path if newest else None)
        return Relay(self._standing, run, held, child, self._stopping).run()

    def _newest(self, run: Run) -> Checkpoint | None:
        """The newest checkpoint that is whole; None where the run has made none.

        Raises RunError where there should be one: its losses must not be lost for a folder that is not mounted.
        """
        with self._ledger.read() as connection:
            saved = training.checkpoints(connection, run.id)
        for one in saved:
            if (one.path / STATE).is_file() and _sha256(one.path / WEIGHTS) == one.sha256:
                return one
            _log.warning("run %d: the checkpoint of step %d is not whole: %s", run.id, one.step, one.path)
        if saved:
            raise RunError(
                f"none of the checkpoints of run {run.id} is whole or there ({run.folder}): "
                "bring the folder back and retry, or start a new run"
            )
        return None

    def _count_crash(self, run: Run, reason: str) -> None:
        """The unit is due again, until it crashed too often."""
        _log.error("run %d: the training process crashed: %s", run.id, reason)
        with self._ledger.write() as connection:
            if not lease.expire(connection, self._standing.worker_id, [run.unit_id]):
                return
            if training.crashes(connection, run.unit_id) >= CRASHES:
                lease.fail_job(connection, run.job_id, _given_up(run, reason))
                training.end(connection, run.id, _given_up(run, reason))

    def _stopping(self) -> bool:
        """Whether the run has to make way: the worker stops, the queue is paused, captions need the device."""
        if self._standing.stopping.is_set():
            return True
        try:
            with self._ledger.read() as connection:
                paused = control.is_paused(connection, "train")
            return paused or self._yields()
        except LedgerError:
            return False

    def _yields(self) -> bool:
        """Whether captions are due or under way that this run may not run beside."""
        if self._settings.share_device:
            return False
        captioning = exists().where(unit.c.queue == "caption", unit.c.state == "running")
        with self._ledger.read() as connection:
            return bool(lease.due(connection, "caption")) or bool(connection.scalar(select(captioning)))

    def _postpone(self, run: Run, seconds: float, reason: str) -> None:
        with self._ledger.write() as connection:
            lease.postpone(connection, run.job_id, seconds, reason)

    def _folder(self, run: Run) -> Path:
        """Where the run's checkpoints lie: in the home of the worker that began it."""
        if run.folder is not None:
            with self._ledger.read() as connection:
                if training.checkpoints(connection, run.id):
                    return run.folder
        return self._settings.home / "runs" / str(run.id)


def _given_up(run: Run, reason: str) -> str:
    return (
        f"training crashed {CRASHES} times without a new checkpoint: {reason}; the log says more, and "
        f"`blipq retry {run.job_id}` goes on from the newest checkpoint"
    )


def _vanished(run: Run, lapses: int) -> str:
    return (
        f"{lapses} workers vanished with the run, without a new checkpoint, and nobody saw why: their hosts went "
        f"down, or ran out of memory as a whole; `blipq retry {run.job_id}` goes on from the newest checkpoint"
    )


def _sha256(path: Path) -> bytes | None:
    """Of a file of weights; 1.2 s a GB."""
    try:
        with open(path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest()
    except OSError:
        return None
