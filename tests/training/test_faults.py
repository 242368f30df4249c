"""A run outlives whatever happens to its processes, and its losses show nothing of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

EPOCHS = 40  # 440 steps: long enough to be hit in the middle of
OPTIONS = ("--epochs", EPOCHS, "--batch-size", 2, "--lr", 1e-3, "--checkpoint-every", 7)


def kill(pid: int | None) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def unbroken(house, tiny_blip, photos):
    """The losses and epochs of run 1, which nobody disturbs."""
    done = house("train", photos, "--model", tiny_blip, *OPTIONS, "--wait", "-q")
    assert done.returncode == 0, done.stderr
    series = house.series(1)
    assert len(series) == EPOCHS * 11
    return series


def validation(house, run):
    return house.sql(f"select epoch, step, loss, validation_loss from epoch where run_id = {run} order by epoch")


def test_kill_9_of_worker_or_child_at_any_moment_leaves_the_series_of_an_unbroken_run(
    house, unbroken, tiny_blip, photos
):
    # Given a run whose worker or training process is killed at random steps
    run = house.json("train", photos, "--model", tiny_blip, *OPTIONS)["runs"][0]["run"]
    moments = random.Random(11)
    for step, victim in ((60, house.worker), (200, house.child)):
        house.until(f"select 1 from loss where run_id = {run} and step >= {step}")
        time.sleep(moments.random() / 5)
        kill(victim())
    # When it ends
    house.until(f"select 1 from job where id = {run} and state = 'done'", 120)
    # Then nobody can tell, but for the fences in the names of its folders
    assert house.series(run) == unbroken
    assert validation(house, run) == validation(house, 1)
    assert house.sql(f"select fence > 2, crashes from unit where job_id = {run}") == [(1, 0)]


def test_pause_stop_and_cancel_end_a_run_within_a_step_and_it_goes_on_as_if_nothing_had_been(
    house, unbroken, tiny_blip, photos
):
    run = house.json("train", photos, "--model", tiny_blip, *OPTIONS)["runs"][0]["run"]

    def saved(least):
        """The last step, which has a checkpoint: the run was asked to make way, and did."""
        house.until(f"select 1 from unit where job_id = {run} and state = 'queued' and crashes = 0")
        ((steps,),) = house.sql(f"select max(step) from loss where run_id = {run}")
        assert house.sql(f"select max(step) from checkpoint where run_id = {run}") == [(steps,)]
        assert least <= steps < EPOCHS * 11
        return steps

    def reaches(step):
        house.until(f"select 1 from loss where run_id = {run} and step >= {step}")

    # Given a run that is paused: it saves after its step, and nobody takes it up
    reaches(40)
    assert house("pause", "train").returncode == 0
    steps = saved(40)
    time.sleep(2.5)
    assert house.sql(f"select state from unit where job_id = {run}") == [("queued",)]
    # When it goes on, is stopped with the daemon, and goes on with the next one
    assert house("resume", "train").returncode == 0
    reaches(steps + 40)
    assert house("down").returncode == 0
    steps = saved(steps + 40)
    assert house("up", "--detach").returncode == 0
    reaches(steps + 40)
    # And is cancelled: nothing more is written, and the process ends
    assert house("cancel", run).returncode == 0
    ((steps,),) = house.sql(f"select max(step) from loss where run_id = {run}")
    end = time.monotonic() + 10
    while house.child() is not None:
        assert time.monotonic() < end, "the training process outlives its cancelled run by 10 s"
        time.sleep(0.05)
    assert house.sql(f"select max(step) from loss where run_id = {run}") == [(steps,)]
    assert house.sql(f"select state from job where id = {run}") == [("cancelled",)]
    # And its folder is away for a while, so that there is nothing to go on from: no row is lost for that
    folder = house.home / "runs" / str(run)
    folder.rename(f"{folder}-away")
    done = house("retry", run)
    assert done.returncode == 0, done.stderr
    house.until(f"select 1 from job where id = {run} and state = 'failed'")
    ((note,),) = house.sql(f"select note from job where id = {run}")
    assert note.startswith(f"none of the checkpoints of run {run} is whole or there")
    assert house.sql(f"select max(step) from loss where run_id = {run}") == [(steps,)]
    Path(f"{folder}-away").rename(folder)
    done = house("train", "--resume", run, "--wait", "-q")
    # Then its losses are those of the run that nobody disturbed
    assert done.returncode == 0, done.stderr
    assert house.series(run) == unbroken
    assert validation(house, run) == validation(house, 1)
    assert house.sql(f"select crashes from unit where job_id = {run}") == [(0,)]


def test_a_process_that_dies_again_and_again_fails_the_run_with_the_reason(house, unbroken, tiny_blip, photos):
    run = house.json("train", photos, "--model", tiny_blip, "--epochs", 500)["runs"][0]["run"]
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
