"""`BLIPQ_SHARE_DEVICE=false`: training waits until the captions are done."""

from __future__ import annotations

import pytest

from blipq.models import intake, lease, migrate, training
from blipq.models.database import open_ledger
from blipq.models.intake import Found
from blipq.settings import Settings
from blipq.worker.standing import Standing
from blipq.worker.training import Training


@pytest.fixture
def given(tmp_path):
    """A ledger with a run that is due and, before it, captions that are due; the settings of a worker."""
    settings = Settings(home=tmp_path, share_device=False)
    ledger = open_ledger(settings)
    migrate.upgrade(ledger)
    with ledger.write() as connection:
        run = training.enqueue(connection, base="/no/such/base", weights=None, data="/d", plan={}, priority=0)
        values = {"kind": "caption", "source": "x", "model": "demo", "recipe_id": None, "parameters": {}, "priority": 0}
        job = intake.open_job(connection, **values)
        intake.take_in(connection, job, None, [Found("/x/a.jpg", 1, 1)], again=False, so_far=0)
        intake.close_job(connection, job)
    yield settings, ledger, run
    ledger.close()


def state(ledger, run):
    with ledger.read() as connection:
        return connection.exec_driver_sql(
            f"select state, note, run_after > 0 from job where id = {run.job_id}"
        ).one()  # fmt: skip


def test_training_waits_while_captions_are_due_and_begins_once_they_are_done(given):
    settings, ledger, run = given
    standing = Standing(ledger, settings, "train", "cpu", "")
    worker = Training(standing, settings)
    # While captions are due, the run waits and says why; looking again is due in a while
    worker.drain()
    assert state(ledger, run) == (
        "queued", "waits until the captions are done (BLIPQ_SHARE_DEVICE=false)", 1,
    )  # fmt: skip
    with ledger.write() as connection:
        assert lease.due(connection, "train") == []
        # While somebody captions them, too
        (held,) = lease.claim(connection, standing.worker_id, 2, 30, 1, alone=True)
        connection.exec_driver_sql("update job set run_after = 0")
    worker.drain()
    assert state(ledger, run)[0] == "queued"
    # When they are done, the run is tried: here it fails for its base
    with ledger.write() as connection:
        lease.count(connection, {held.unit_id: (1, 0)})
        connection.exec_driver_sql("update job set run_after = 0")
    worker.drain()
    assert state(ledger, run)[:2] == ("failed", "model folder /no/such/base: not there")


def test_by_default_they_run_side_by_side(given):
    settings, ledger, run = given
    shared = settings.model_copy(update={"share_device": True})
    Training(Standing(ledger, shared, "train", "cpu", ""), shared).drain()
    assert state(ledger, run)[0] == "failed"
