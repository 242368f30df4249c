"""The statements on runs, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from blipq.models import lease, migrate, runs, training
from blipq.models.database import open_ledger
from blipq.models.training import Checkpoint, Epoch, Figure, RunError, Step
from blipq.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request, tmp_path):
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    made = open_ledger(Settings(home=tmp_path, database_url=url))
    migrate.upgrade(made)
    yield made
    made.close()


@pytest.fixture
def run(ledger, tmp_path):
    with ledger.write() as connection:
        made = training.enqueue(connection, base="demo", weights="sha256:0", data="/data", plan={"lr": 1.0}, priority=0)
        training.settle(connection, made.id, base="demo", weights="sha256:0", folder=tmp_path / "run")
        return training.read(connection, run_id=made.id)


def step(number):
    return Step(number, 1 + number // 4, 2.0, 1.5, 1e-3, 0.5)


def folder(tmp_path, name):
    made = tmp_path / "run" / name
    made.mkdir(parents=True)
    return made


def test_a_run_is_a_job_of_one_unit_that_is_due_at_once(ledger, run):
    with ledger.read() as connection:
        assert [due.job_id for due in lease.due(connection, "train")] == [run.job_id]
        assert lease.due(connection, "caption") == []
        assert runs.status(connection, run.id).state == "queued"


def test_a_crash_does_not_split_the_unit_of_a_run(ledger, run):
    with ledger.write() as connection:
        worker = connection.exec_driver_sql(
            "insert into worker (name, host, pid, queue, versions, state, started_at, seen_at)"
            " values ('w', 'h', 1, 'train', '', 'idle', 0, 0) returning id"
        ).scalar_one()
        (held,) = lease.claim(connection, worker, run.job_id, 30, 1, alone=True)
        assert lease.expire(connection, worker, [held.unit_id]) == 1
        assert training.crashes(connection, held.unit_id) == 1
        assert connection.exec_driver_sql("select count(*), max(state) from unit").one() == (1, "queued")
        # And it is claimed again, under another fence
        (again,) = lease.claim(connection, worker, run.job_id, 30, 1, alone=True)
        assert (again.unit_id, again.crashes) == (held.unit_id, 1)
        assert again.fence != held.fence


def test_a_checkpoint_lets_crashes_count_anew_and_is_the_one_best(ledger, run, tmp_path):
    with ledger.write() as connection:
        connection.exec_driver_sql("update unit set crashes = 2, lapses = 2")
        for number in (4, 8):
            path = folder(tmp_path, f"f1-{number}")
            training.add_checkpoint(connection, run, Checkpoint(number, path, bytes(32), is_best=True))
        assert training.crashes(connection, run.unit_id) == 0
        assert [(one.step, one.is_best) for one in training.checkpoints(connection, run.id)] == [(8, True), (4, False)]
        # The same step again, after a resume, is one row that leads to the newer folder
        newer = folder(tmp_path, "f2-8")
        training.add_checkpoint(connection, run, Checkpoint(8, newer, bytes(32), is_best=False))
        newest = training.checkpoints(connection, run.id)[0]
        assert (newest.step, newest.path) == (8, newer)


def test_the_newest_checkpoints_the_best_and_copies_of_promoted_ones_stay_listed(ledger, run, tmp_path):
    with ledger.write() as connection:
        training.settle(connection, run.id, base="demo", weights="x", folder=tmp_path / "run")
        run = training.read(connection, run_id=run.id)
        paths = {number: folder(tmp_path, str(number)) for number in (4, 8, 12, 16, 20)}
        for number, path in paths.items():
            training.add_checkpoint(connection, run, Checkpoint(number, path, bytes(32), is_best=number == 8))
        copy = training.kept_folder(paths[4], 4)
        copy.mkdir(parents=True)
        assert training.tidy(connection, run, 2) == [paths[20], paths[16], paths[8]]
        listed = [(one.step, one.path) for one in training.checkpoints(connection, run.id)]
    assert listed == [(20, paths[20]), (16, paths[16]), (8, paths[8]), (4, copy)]


def test_rewind_leaves_what_came_up_to_the_step(ledger, run, tmp_path):
    with ledger.write() as connection:
        training.add_steps(connection, run.id, [step(number) for number in range(1, 9)])
        for number in (1, 2):
            training.add_epoch(connection, run.id, Epoch(number, 4 * number, 1.0, 0.9, {"cider_d": 1.0}, 2.0))
        figures = {"BLEU-4": Figure(0.5, 0.4, 0.6)}
        training.add_evaluation(connection, run.id, data="d", model="run:1", figures=figures, pictures=9)
        training.rewind(connection, run.id, 4)
        assert [row["step"] for row in runs.steps(connection, run.id)] == [1, 2, 3, 4]
        assert [(row["epoch"], row["metrics"]) for row in runs.epochs(connection, run.id)] == [(1, {"cider_d": 1.0})]
        assert runs.evaluations(connection, run.id) == {}
        # An epoch that is judged again replaces its row
        training.add_epoch(connection, run.id, Epoch(1, 4, 1.0, 0.8, {}, 2.0))
        assert [row["validation_loss"] for row in runs.epochs(connection, run.id)] == [0.8]


def test_a_remark_said_twice_is_one_row(ledger, run):
    with ledger.write() as connection:
        for _ in range(2):
            training.add_remark(connection, run.id, "cut", "a.png", "too long")
            training.add_remark(connection, run.id, "no split", None, "few")
        assert [(row["kind"], row["name"]) for row in runs.remarks(connection, run.id)] == [
            ("cut", "a.png"), ("no split", ""),
        ]  # fmt: skip


def test_only_a_run_that_is_over_is_gone_on_with(ledger, run):
    with ledger.write() as connection:
        with pytest.raises(RunError, match="run 1 is queued: `blipq cancel 1` first"):
            training.reopen(connection, run.id, {})
        lease.count(connection, {run.unit_id: (1, 0)})
        training.end(connection, run.id, "all epochs are done")
        assert runs.status(connection, run.id).state == "done"
        assert training.reopen(connection, run.id, {"epochs": 9}).plan == {"lr": 1.0, "epochs": 9}
        assert [due.job_id for due in lease.due(connection, "train")] == [run.job_id]
        assert runs.status(connection, run.id).note is None


def test_a_name_moves_to_other_weights(ledger, run, tmp_path):
    with ledger.write() as connection:
        for number in (4, 8):
            path = folder(tmp_path, str(number))
            training.add_checkpoint(connection, run, Checkpoint(number, path, bytes(32), is_best=True))
        training.promote(connection, "best", model="run:1@4", weights="sha256:1")
        training.promote(connection, "best", model="run:1@8", weights="sha256:2")
        assert connection.exec_driver_sql("select name, model from alias").all() == [("best", "run:1@8")]
        points = [(row["step"], row["promoted_as"]) for row in runs.checkpoints(connection, run.id)]
        assert points == [(4, None), (8, "best")]


def test_the_leaderboard_ranks_runs_by_validation_loss_with_their_own_figures(ledger, run):
    with ledger.write() as connection:
        other = training.enqueue(connection, base="demo", weights=None, data="/data", plan={"lr": 2.0}, priority=0)
        for one, loss in ((run, 0.9), (other, 0.5)):
            training.add_epoch(connection, one.id, Epoch(1, 4, 1.0, loss, {}, 2.0))
            figures = {"CIDEr-D": Figure(one.id, 0, 1)}
            training.add_evaluation(connection, one.id, data="d", model=f"run:{one.id}", figures=figures, pictures=9)
        ranked = runs.leaderboard(connection)
    assert [(row["run"], row["validation_loss"], row["cider_d"]) for row in ranked] == [
        (other.id, 0.5, other.id), (run.id, 0.9, run.id),
    ]  # fmt: skip
    assert Path(str(run.folder)).name == "run"
