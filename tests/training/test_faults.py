"""A run outlives whatever happens to its processes, and its losses show nothing of it.

The first three tests disturb one run in turn, which is endless, so that no machine is through with it before it is told
to stop. Its rate does not depend on its length: an undisturbed run of as many epochs has to give the same losses.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

STEPS = 11  # of an epoch: 22 pairs, two at a time
ENDLESS = 99_999
OPTIONS = ("--batch-size", 2, "--lr", 1e-3, "--schedule", "constant", "--warmup", 0, "--checkpoint-every", 7)


def kill(pid: int | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)


def reaches(house, run, step):
    house.until(f"select 1 from loss where run_id = {run} and step >= {step}")


def last_step(house, run):
    return house.sql(f"select coalesce(max(step), 0) from loss where run_id = {run}")[0][0]


def passed(house, run):
    return house.sql(f"select epoch, step, loss, validation_loss from epoch where run_id = {run} order by epoch")


@pytest.fixture(scope="module")
def run(house, tiny_blip, photos):
    """The run that is disturbed; its job has the same number."""
    return house.json("train", photos, "--model", tiny_blip, *OPTIONS, "--epochs", ENDLESS)["runs"][0]["run"]


def test_kill_9_of_worker_or_child_at_any_moment_costs_no_step_and_no_epoch(house, run):
    moments = random.Random(11)
    for victim in (house.worker, house.child):
        # Given a worker and then a training process that is killed at a random moment
        reaches(house, run, last_step(house, run) + 40)
        ((fence,),) = house.sql(f"select fence from unit where job_id = {run}")
        time.sleep(moments.random() / 5)
        kill(victim())
        # When the run is taken up again, it goes on
        house.until(f"select 1 from unit where job_id = {run} and fence <> {fence}")
        reaches(house, run, last_step(house, run) + 40)
    # Then its rows are whole, and what it did since lets crashes count anew
    series, epochs = house.series(run), passed(house, run)
    assert [row[0] for row in series] == list(range(1, len(series) + 1))
    assert [row[:2] for row in epochs] == [(number + 1, STEPS * (number + 1)) for number in range(len(epochs))]
    assert house.sql(f"select crashes from unit where job_id = {run}") == [(0,)]


def test_pause_and_stop_end_a_run_within_a_step_and_it_goes_on_from_there(house, run):
    def saved(least):
        """The last step, which has a checkpoint: the run was asked to make way, and did."""
        house.until(f"select 1 from unit where job_id = {run} and state = 'queued' and crashes = 0")
        step = last_step(house, run)
        assert house.sql(f"select max(step) from checkpoint where run_id = {run}") == [(step,)]
        assert step >= least
        return step

    # Given a run that is paused: it saves after its step, and nobody takes it up
    reaches(house, run, 40)
    assert house("pause", "train").returncode == 0
    step = saved(40)
    time.sleep(2.5)
    assert house.sql(f"select state from unit where job_id = {run}") == [("queued",)]
    # When it goes on, is stopped with the daemon, and goes on with the next one
    assert house("resume", "train").returncode == 0
    reaches(house, run, step + 40)
    assert house("down").returncode == 0
    step = saved(step + 40)
    assert house("up", "--detach").returncode == 0
    # Then it has lost nothing
    reaches(house, run, step + 40)


def test_a_cancelled_run_goes_on_and_its_losses_are_those_of_one_that_nobody_disturbed(house, run, tiny_blip, photos):
    # Given a run that is cancelled: nothing more is written, and the process ends
    reaches(house, run, 40)
    assert house("cancel", run).returncode == 0
    step = last_step(house, run)
    end = time.monotonic() + 10
    while house.child() is not None:
        assert time.monotonic() < end, "the training process outlives its cancelled run by 10 s"
        time.sleep(0.05)
    assert last_step(house, run) == step
    assert house.sql(f"select state from job where id = {run}") == [("cancelled",)]
    # And its folder is away for a while, so that there is nothing to go on from: no row is lost for that
    folder = Path(house.sql(f"select folder from run where id = {run}")[0][0])
    folder.rename(f"{folder}-away")
    done = house("retry", run)
    assert done.returncode == 0, done.stderr
    house.until(f"select 1 from job where id = {run} and state = 'failed'")
    ((note,),) = house.sql(f"select note from job where id = {run}")
    assert note.startswith(f"none of the checkpoints of run {run} is whole and to be seen from")
    assert note.endswith(f"bring it back, then `blipq retry {run}`")
    assert last_step(house, run) == step
    Path(f"{folder}-away").rename(folder)
    # When it goes on to the end of its epoch, and another of as many epochs is left alone
    epochs = step // STEPS + 1
    done = house("train", "--resume", run, "--epochs", epochs, "--wait", "-q")
    assert done.returncode == 0, done.stderr
    done = house("train", photos, "--model", tiny_blip, *OPTIONS, "--epochs", epochs, "--wait", "-q")
    assert done.returncode == 0, done.stderr
    # Then nobody can tell them apart, but for the fences in the names of their folders
    ((other,),) = house.sql("select max(id) from run")
    assert len(house.series(run)) == epochs * STEPS
    assert house.series(run) == house.series(other)
    assert passed(house, run) == passed(house, other)
    assert house.sql(f"select state, crashes from unit where job_id = {run}") == [("done", 0)]
    # And of the disturbed one's checkpoints are left the newest two and the best
    left = {str(path) for path in folder.glob("f*-*")}
    assert left == {path for (path,) in house.sql(f"select path from checkpoint where run_id = {run}")}
    assert 2 <= len(left) <= 3


def test_a_process_that_dies_again_and_again_fails_the_run_with_the_reason(house, tiny_blip, photos):
    # Given a run that writes no checkpoint in its first ten minutes, for there is no best epoch
    options = ("--model", tiny_blip, "--epochs", ENDLESS, "--validation", 0)
    run = house.json("train", photos, *options)["runs"][0]["run"]
    for crashes in range(3):
        house.until(f"select 1 from unit where job_id = {run} and state = 'running' and crashes = {crashes}")
        while (child := house.child()) is None:
            time.sleep(0.02)
        kill(child)
    house.until(f"select 1 from job where id = {run} and state = 'failed'")
    ((note,),) = house.sql(f"select note from job where id = {run}")
    assert note.startswith("training crashed 3 times without a new checkpoint: it was ended by SIGKILL")
    assert f"blipq retry {run}" in note
    assert "\n" not in note


def test_a_base_that_cannot_be_made_ready_ends_its_run_with_the_reason(own_house, tiny_blip, photos, tmp_path):
    # Given a base that has to be converted, and no place to put it, which nobody foresaw
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_bytes((tiny_blip / "config.json").read_bytes())
    (base / "pytorch_model.bin").write_bytes(b"weights")
    own_house.home.mkdir(parents=True, exist_ok=True)
    (own_house.home / "converted").write_text("a file where a folder has to be")
    # When it is trained
    done = own_house("train", photos, "--model", base, "--epochs", 1, "--wait", "-q")
    # Then the run ends after three attempts with the reason, and its worker lives
    assert done.returncode == 1, done.stderr
    assert "the model cannot be used: " in done.stdout
    assert "(3 attempts)" in done.stdout
    assert own_house.sql("select job.state, run.ended_at is not null from job, run") == [("failed", 1)]
    assert own_house.sql("select count(*) from worker where queue = 'train'") == [(1,)]
