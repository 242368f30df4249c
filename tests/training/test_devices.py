"""Several devices, tried as two processes of one CPU: the same losses as one process, and a killed one is made good."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

# A constant rate does not depend on the run's length, so an endless run gives the losses of a short one.
OPTIONS = ("--batch-size", 4, "--lr", 1e-3, "--schedule", "constant", "--warmup", 0, "--freeze", "none")
OPTIONS += ("--precision", "fp32", "--checkpoint-every", 5)
BOTH = ("--devices", "cpu,cpu")
EPOCHS = 4  # of six steps


def rank(house, number):
    """The process of the newest run that has this rank."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and b"engine.training.child" in (folder / "cmdline").read_bytes():
                said = (folder / "environ").read_bytes().split(b"\0")
                if f"RANK={number}".encode() in said and f"BLIPQ_HOME={house.home}".encode() in said:
                    return int(folder.name)
    raise AssertionError(f"no process has rank {number}")


@pytest.fixture(scope="module")
def both(house, tiny_blip, photos):
    """Run 1, on two devices."""
    done = house("train", photos, "--model", tiny_blip, *OPTIONS, *BOTH, "--epochs", EPOCHS, "--wait", "-q")
    assert done.returncode == 0, done.stderr
    return house.series(1)


def test_two_devices_give_the_losses_of_one_at_the_same_global_batch(house, both, tiny_blip, photos):
    done = house("train", photos, "--model", tiny_blip, *OPTIONS, "--epochs", EPOCHS, "--wait", "-q")
    assert done.returncode == 0, done.stderr
    one = house.series(2)
    assert len(both) == len(one) == EPOCHS * 6
    for ours, theirs in zip(both, one, strict=True):
        assert ours == pytest.approx(theirs, abs=2e-5)
    validation = "select validation_loss from epoch where run_id = {} order by epoch"
    ours, theirs = (dict(enumerate(row for (row,) in house.sql(validation.format(run)))) for run in (1, 2))
    assert len(ours) == EPOCHS
    assert ours == pytest.approx(theirs, abs=2e-5)
    # And base is scored against tuned once, not once a process
    assert set(house.sql("select run_id, model, count(*) from evaluation group by 1, 2, metric")) == {
        (run, model, 1) for run in (1, 2) for model in (str(tiny_blip), f"run:{run}")
    }


def test_a_killed_process_is_survived_and_the_run_goes_on_from_its_checkpoint(house, both, tiny_blip, photos):
    # Given an endless run on two devices
    run = house.json("train", photos, "--model", tiny_blip, *OPTIONS, *BOTH, "--epochs", 9999)["runs"][0]["run"]
    house.until(f"select 1 from checkpoint where run_id = {run} and step >= 10")
    ((fence,),) = house.sql(f"select fence from unit where job_id = {run}")
    # When the one that does not report is killed
    os.kill(rank(house, 1), signal.SIGKILL)
    # Then all of it begins again at the checkpoint, and the losses show nothing of it
    house.until(f"select 1 from unit where job_id = {run} and fence <> {fence}")
    reached = house.sql(f"select max(step) from loss where run_id = {run}")[0][0]
    house.until(f"select 1 from loss where run_id = {run} and step >= {reached + 10}")
    # And a pause reaches all its processes: they save after one and the same step
    assert house("pause", "train").returncode == 0
    house.until(f"select 1 from unit where job_id = {run} and state = 'queued' and crashes = 0")
    assert house.sql(f"select max(step) from checkpoint where run_id = {run}") == [(len(house.series(run)),)]
    assert house("cancel", run).returncode == 0
    assert house("resume", "train").returncode == 0
    assert house.series(run)[: len(both)] == both
    said = "".join(path.read_text() for path in (house.home / "log").iterdir())
    assert f"run {run}: the training process crashed: process 2 of 2 (cpu) was ended by SIGKILL" in said


def test_a_device_that_is_not_there_is_said_before_anything_starts(house, both, tiny_blip, photos):
    done = house("train", photos, "--model", tiny_blip, "--devices", "cpu,cuda:77", "--wait", "-q")
    assert done.returncode == 1
    assert "device cuda:77: torch sees " in done.stdout
    done = house("train", photos, "--model", tiny_blip, "--devices", "cpu,gpu")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "Error: Invalid value for '--devices': gpu: takes auto, cpu, mps, cuda:0 or a GPU's number, apart by commas",
    )
