"""Making a due job's model ready before anything of it is claimed; a job that cannot be done says why."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from blipq.models import attempts, lease
from blipq.models.database import LedgerError
from blipq.models.lease import DueJob
from blipq.models.recipes import BadRecipe
from blipq.models.weights import HubUnreachable, UnknownModel
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.engine.errors import NotACaptioner, harms_device, is_out_of_memory
from blipq.worker.model_cache import ModelCache, ModelChanged
from blipq.worker.orders import Order, read_order
from blipq.worker.reasons import CannotBegin, NeedsFreshProcess, reason
from blipq.worker.standing import Standing

HUB_AGAIN_SECONDS = 30.0
MEMORY_AGAIN_SECONDS = 30.0
ELSEWHERE_SECONDS = 30.0  # that a job is left to the workers that can do it, where this one cannot
_log = logging.getLogger(__name__)


class Readiness:
    """Makes models ready for jobs. Used by the model's thread alone."""

    def __init__(self, standing: Standing, models: ModelCache, sizes: BatchSizes) -> None:
        self._standing = standing
        self._ledger = standing.ledger
        self._models = models
        self._sizes = sizes
        self._elsewhere: dict[int, float] = {}  # until when others do a job

    def able(self, due: Sequence[DueJob]) -> list[DueJob]:
        """The jobs that this worker may try now."""
        now = time.monotonic()
        self._elsewhere = {job_id: until for job_id, until in self._elsewhere.items() if until > now}
        return [one for one in due if one.job_id not in self._elsewhere]

    def make(self, due: DueJob) -> Order | None:
        """The order of a due job, with its model loaded, warmed and measured; None where it waits or failed.

        Raises CannotBegin where this worker can load no model at all, and NeedsFreshProcess.
        """
        try:
            self._models.import_captioner()
            order = read_order(self._ledger, due)
            if not (self._models.holds(order.kind) and self._sizes.knows(order.kind)):
                self._load(order)
        except (LedgerError, SQLAlchemyError, CannotBegin):
            raise
        except HubUnreachable as error:
            self._postpone(due, HUB_AGAIN_SECONDS, f"{error}; tried again every {HUB_AGAIN_SECONDS:.0f} s")
        except (UnknownModel, ModelChanged, NotACaptioner, BadRecipe) as error:
            with self._ledger.write() as connection:
                lease.fail_job(connection, due.job_id, str(error))
        # Nobody knows what a captioner raises: Rust's panics and SystemExit are no Exceptions, and are just as final.
        except BaseException as error:
            self._not_ready(due, error)
        else:
            return order
        return None

    def _load(self, order: Order) -> None:
        """Load and measure, while the ledger says for which job: a death now is told from one over a picture."""
        worker_id = self._standing.worker_id
        with self._ledger.write() as connection:
            attempts.loads(connection, worker_id, order.job_id, order.kind.model)
        ready = None
        try:
            self._sizes.measure(order.kind, self._models.get(order.kind))
            ready = order.kind.model
        except BaseException:
            self._models.unload(order.kind)
            self._standing.show(model=None)
            raise
        finally:
            with self._ledger.write() as connection:
                attempts.loaded(connection, worker_id, ready)
            self._standing.show(state="running")

    def _not_ready(self, due: DueJob, error: BaseException) -> None:
        if is_out_of_memory(error):
            self._models.close()
            again = f"tried again every {MEMORY_AGAIN_SECONDS:.0f} s"
            self._postpone(due, MEMORY_AGAIN_SECONDS, f"no memory for the model: {reason(error)}; {again}")
            return
        _log.warning("job %d: its model cannot be made ready", due.job_id, exc_info=error)
        with self._ledger.write() as connection:
            counted = attempts.failed_to_load(connection, due.job_id, reason(error))
        if not counted:
            self._elsewhere[due.job_id] = time.monotonic() + ELSEWHERE_SECONDS
        if harms_device(error):
            raise NeedsFreshProcess(reason(error)) from error

    def _postpone(self, due: DueJob, seconds: float, note: str) -> None:
        with self._ledger.write() as connection:
            lease.postpone(connection, due.job_id, seconds, note)
