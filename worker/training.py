"""The training loop: the run whose turn it is, in a process of its own, until nothing is due."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import exists, select
from sqlalchemy.exc import SQLAlchemyError

from blipq.models import attempts, control, lease, run_folder, stranded, training
from blipq.models.control import NoSuchJob
from blipq.models.database import LedgerError
from blipq.models.lease import MOST_LAPSES, DueJob, Lease
from blipq.models.schema import unit
from blipq.models.training import Checkpoint, Run, RunError
from blipq.models.weights import Elsewhere, HubUnreachable, UnknownModel, Weights
from blipq.settings import Settings
from blipq.worker import plans, reach
from blipq.worker.child import Child
from blipq.worker.reach import Reach
from blipq.worker.reasons import reason
from blipq.worker.relay import Lost, Outcome, Relay, fail
from blipq.worker.standing import Standing
from blipq.worker.weights import folder_of

CRASHES = 3  # without a new checkpoint between them, after which a run is given up
HUB_AGAIN_SECONDS = 30.0
SHARE_AGAIN_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 30.0
_log = logging.getLogger(__name__)


class Training:
    """The worker of the `train` queue: no torch in it, one run at a time in a child process."""

    def __init__(self, standing: Standing, settings: Settings) -> None:
        self._standing = standing
        self._ledger = standing.ledger
        self._settings = settings
        self._host = socket.gethostname()
        self._left: tuple[Sequence[Checkpoint] | None, float, str | None] = (None, 0.0, None)

    def drain(self) -> None:
        """Train all that is due here. Returns when nothing is, when the queue is paused, or when the worker stops."""
        while not self._standing.stopping.is_set():
            with self._ledger.read() as connection:
                due = [] if control.is_paused(connection, "train") else lease.due(connection, "train")
            if not any(self._serve(one) for one in due):
                return

    def close(self) -> None:
        """Nothing is left: a run's process ends before `drain` does."""

    def _serve(self, due: DueJob) -> bool:
        """Do a due job, or let its row say why not; False where it is left to another host."""
        with self._ledger.read() as connection:
            run = training.read(connection, job_id=due.job_id)
            saved = training.checkpoints(connection, run.id)
        newest = reach.hidden(saved)
        if newest is not None and self._waits(run, newest.host):
            return False
        self._standing.show(state="running", model=due.model)
        try:
            return self._prepare(run, saved)
        finally:
            self._standing.show(state="idle", model=None, rate=None, note=None)

    def _prepare(self, run: Run, saved: Sequence[Checkpoint]) -> bool:
        """Find the base and where to go on, and train; False where the run is left to another host."""
        if self._yields():
            self._postpone(run, SHARE_AGAIN_SECONDS, "waits until the captions are done (BLIPQ_SHARE_DEVICE=false)")
            return True
        seen = self._look(run, saved)
        if seen is None:
            return False
        try:
            base = self._base(run)
        except Elsewhere:
            return False
        if base is None:
            return True
        found, base_folder = base
        held = self._claim(run)
        if held is None:
            return True
        with self._ledger.write() as connection:
            attempts.proven(connection, run.job_id)
        self._standing.hold([held])
        try:
            with self._ledger.write() as connection:
                if training.checkpoints(connection, run.id) != saved:  # somebody trained on before our claim
                    lease.hand_back(connection, [held])
                    return True
            outcome = self._train_or_crash(run, held, found, base_folder, seen, begins=not saved)
            if outcome.kind == "crashed":
                self._count_crash(run, outcome.reason)
            _log.info("run %d: %s %s", run.id, outcome.kind, outcome.reason)
        finally:
            self._standing.let_go([held.unit_id])
        return True

    def _look(self, run: Run, saved: Sequence[Checkpoint]) -> Reach | None:
        """What a run can go on from here; None where it is left to another host.

        Files are hashed for it, so they are not looked at anew every 2 s while the run waits.
        """
        before, at, host = self._left
        if before == saved and time.monotonic() - at < LOOK_AGAIN_SECONDS and self._waits(run, host):
            return None
        seen = reach.look(run, saved, self._host)
        if seen.absent and self._waits(run, seen.absent[0].host):
            self._left = (saved, time.monotonic(), seen.absent[0].host)
            return None
        return seen

    def _waits(self, run: Run, host: str | None) -> bool:
        """Whether a run is left to the host that has its files, for as long as its row then says."""
        if self._ledger.sqlite_path is not None:  # all of its workers are on one host: nobody else could have them
            return False
        with self._ledger.read() as connection:
            told = stranded.wait(connection, run, host, self._host)
        if told.is_new and not told.over:
            _log.info("run %d %s", run.id, told.note)
            with self._ledger.write() as connection:
                stranded.strand(connection, run, told)
        return not told.over

    def _base(self, run: Run) -> tuple[Weights, Path] | None:
        """The base that a run begins from and where it lies; None where the run waits for it or failed.

        Raises Elsewhere where the run is left to the host that has it.
        """
        try:
            return self._fetch(run)
        except (LedgerError, SQLAlchemyError):
            raise
        except HubUnreachable as error:
            again = f"tried again every {HUB_AGAIN_SECONDS:.0f} s"
            self._postpone(run, HUB_AGAIN_SECONDS, f"{error}; {again}")
        except UnknownModel as error:
            if isinstance(error, Elsewhere) and self._waits(run, error.host):
                raise
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

    def _train_or_crash(
        self, run: Run, held: Lease, found: Weights, base: Path, seen: Reach, *, begins: bool
    ) -> Outcome:
        """As `_train`; whatever else it raises is a crash with a reason, and not the end of this worker."""
        try:
            return self._train(run, held, found, base, seen, begins=begins)
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

    def _train(self, run: Run, held: Lease, found: Weights, base: Path, seen: Reach, *, begins: bool) -> Outcome:
        """Start or go on with a run whose lease is held, and follow it to its end.

        Nothing of the run is changed before it is certain what it goes on from, and that its data is there.
        """
        try:
            run = self._settle(run, held, found, seen, begins=begins)
            assert run.folder is not None
            if seen.start is not None:
                plans.carry(seen.start.run_folder, run.folder)
            data = plans.open_corrections(self._ledger, run.data, run.folder, resumes=seen.start is not None)
        except (RunError, NoSuchJob, OSError) as error:
            with self._ledger.write() as connection:
                if lease.renew(connection, [held], self._settings.lease):
                    fail(connection, run, held, str(error))
            return Outcome("failed", str(error))
        except Lost:
            return Outcome("lost")
        step = seen.start.step if seen.start else 0
        with self._ledger.write() as connection:
            if not lease.renew(connection, [held], self._settings.lease):
                return Outcome("lost")
            training.rewind(connection, run.id, step)
            training.note(connection, run.id, "the training process starts")
        prefix = f"f{held.fence}-"
        plan = plans.engine_plan(
            self._settings, run.plan, base=base, data=data, out=run.folder, best=seen.best, prefix=prefix
        )
        _log.info("run %d %s", run.id, f"goes on from step {step} ({seen.start.path})" if seen.start else "begins")
        child = Child(plan, seen.start.path if seen.start else None)
        return Relay(self._standing, run, held, child, self._stopping, step).run()

    def _settle(self, run: Run, held: Lease, found: Weights, seen: Reach, *, begins: bool) -> Run:
        """The run with a folder that is its own, which is made where there is none.

        Raises RunError: there is no checkpoint to go on from; Lost, OSError.
        """
        if seen.start is None and not begins:
            raise RunError(reach.explain(run, seen, self._host))
        for one in seen.damaged:
            _log.warning("run %d: the checkpoint of step %d is damaged: %s", run.id, one.step, one.path)
        folder, url = run.folder, self._settings.ledger_url
        if seen.start is not None and seen.start.run_folder == folder and not run_folder.is_marked(folder):
            run_folder.mark(folder, run, url)  # of the release before: a whole checkpoint in it proves whose it is
        is_new = folder is None or not run_folder.is_own(folder, run)
        if folder is None or is_new:
            folder = run_folder.new_name(self._settings.home, run.id)
        with self._ledger.write() as connection:
            if not lease.renew(connection, [held], self._settings.lease):
                raise Lost
            training.settle(connection, run.id, base=found.pinned, weights=found.id, folder=folder)
            run = training.read(connection, run_id=run.id)
        if is_new:
            run_folder.create(folder, run, url)
        return run

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
