from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from safetensors import safe_open

from blipq.worker.engine.training.checkpoint import checkpoints

# Up to three processes one after the other, each importing torch and transformers: 12 s, on a busy machine minutes.
pytestmark = pytest.mark.timeout(600)


def series(events):
    return [(event["step"], event["loss"], event["unsmoothed"]) for event in events if event["event"] == "step"]


def test_kill_9_at_any_moment_costs_no_step_of_the_series(photos, plan_of, tmp_path, child):
    # Given an unbroken run
    folder = photos(24)
    whole, status = child(plan_of(folder, out=str(tmp_path / "whole"), epochs=3, checkpoint_every=4)).end()
    assert (status, whole[-1]["event"]) == (0, "done")
    # When another is killed at a random moment and resumed from the newest checkpoint that is whole
    plan = plan_of(folder, out=str(tmp_path / "killed"), epochs=3, checkpoint_every=4)
    moments = random.Random(5)
    running, last = child(plan), moments.randint(5, 30)
    before = running.read(lambda event: event["event"] == "step" and event["step"] >= last)
    time.sleep(moments.random() / 20)
    running.process.kill()
    before += running.end()[0]
    newest = checkpoints(Path(plan.out))[-1]
    events, status = child(plan, "--resume", str(newest)).end()
    # what comes after the checkpoint is dropped, as a worker drops its rows
    kept = [row for row in series(before) if row[0] <= int(newest.name.removeprefix("step-"))]
    # Then the losses are those of the unbroken run, bit for bit
    assert (status, events[-1]["event"]) == (0, "done")
    assert kept + series(events) == series(whole)
    assert events[-1]["best_step"] == whole[-1]["best_step"]
    assert not list(Path(plan.out).glob(".*.partial"))


def test_sigterm_finishes_the_step_and_saves(photos, plan_of, child):
    running = child(plan_of(photos(24), epochs=500))
    events = running.read(lambda event: event["event"] == "step" and event["step"] == 3)
    running.process.send_signal(signal.SIGTERM)
    rest, status = running.end()
    assert status == 0
    assert [event["event"] for event in rest[-2:]] == ["saved", "stopped"]
    assert rest[-1]["path"] == rest[-2]["path"]
    with safe_open(Path(rest[-1]["path"]) / "training.safetensors", "pt") as file:
        assert (
            json.loads(file.metadata()["run"])["standing"]["step"] == rest[-1]["step"] == series(events + rest)[-1][0]
        )


def test_the_child_dies_with_its_parent(photos, plan_of, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(plan_of(photos(24), epochs=5000).to_json()))
    starter = (
        "import subprocess, sys; child = subprocess.Popen([sys.executable, '-m', 'blipq.worker.engine.training.child',"
        f" '--plan', {str(plan)!r}], stdout=subprocess.PIPE, text=True); print(child.pid, flush=True)\n"
        "for line in child.stdout:\n    print(line, end='', flush=True)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", starter], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    for line in parent.stdout:
        if '"event": "step"' in line:
            break
    parent.kill()
    parent.communicate()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the child outlived its parent by 5 s")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"epochs": 0}, "epochs=0: takes a whole number >= 1"),
        ({"colour": 1}, "a training plan has no colour"),
        ({"preset": "book"}, "preset=book: takes notebook"),
    ],
)
def test_a_wrong_plan_is_one_line_and_exit_2(child, values, says):
    (event,), status = child({"base": "x", "data": "y", "out": "z", **values}).end()
    assert (status, event["event"], event["kind"]) == (2, "failed", "usage")
    assert says in event["message"]
    assert "\n" not in event["message"]


def test_a_dataset_that_cannot_be_reached_is_said_within_10_seconds(plan_of, child, tmp_path):
    # Given a Hub that takes the call and never answers
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
        plan = plan_of(tmp_path).to_json() | {"data": "ybelkada/football-dataset"}
        running = child(plan, HF_HOME=str(tmp_path / "hf"), **reach)
        events, status = running.end()
    # Then one line says so, and what to do
    assert status == 2
    (failed,) = events
    assert failed["message"].startswith("dataset ybelkada/football-dataset cannot be reached (")
    assert "give a folder of photos with captions" in failed["message"]
    assert "\n" not in failed["message"]
    # and the Hub was given 8 s, import and model left out
    asked, ended = (line[:23] for line in running.log.splitlines() if "asks the Hub" in line or "the run ends" in line)
    assert seconds_between(asked, ended) < 10


def seconds_between(first: str, second: str) -> float:
    parsed = [datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f") for moment in (first, second)]
    return (parsed[1] - parsed[0]).total_seconds()
