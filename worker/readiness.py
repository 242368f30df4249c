"""Making a due job's model ready before anything of it is claimed; a job that cannot be done says why."""

from __future__ import annotations

from blipq.models import lease
from blipq.models.database import Ledger
from blipq.models.lease import DueJob
from blipq.models.recipes import BadRecipe
from blipq.models.weights import HubUnreachable, UnknownModel
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.engine.errors import NotACaptioner, OutOfMemory
from blipq.worker.model_cache import ModelCache, ModelChanged
from blipq.worker.orders import Order, read_order

HUB_AGAIN_SECONDS = 30.0
MEMORY_AGAIN_SECONDS = 30.0


def make_ready(ledger: Ledger, due: DueJob, models: ModelCache, sizes: BatchSizes) -> Order | None:
    """The order of a due job, with its model loaded, warmed and measured; None where it waits or failed."""
    try:
        order = read_order(ledger, due)
        sizes.measure(order.kind, models.get(order.kind))
    except HubUnreachable as error:
        with ledger.write() as connection:
            lease.postpone(connection, due.job_id, HUB_AGAIN_SECONDS, str(error))
    except OutOfMemory as error:
        models.close()
        with ledger.write() as connection:
            lease.postpone(connection, due.job_id, MEMORY_AGAIN_SECONDS, f"no memory for the model: {error}")
    except (UnknownModel, ModelChanged, NotACaptioner, BadRecipe) as error:
        with ledger.write() as connection:
            lease.fail_job(connection, due.job_id, str(error))
    else:
        return order
    return None
