"""A model that cannot be used ends its own job with the reason, soon, and keeps nobody else waiting."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import witness
from house import House, signal_to, until
from invariants import check, watch_fences


def _job(house: House, job_id: int) -> Any:
    return house.sql("SELECT state, note, attempts FROM job WHERE id = :job", job=job_id)[0]


def _failures(house: House) -> dict[str, tuple[str, str]]:
    rows = house.sql("SELECT path, kind, message FROM failures ORDER BY path")
    return {Path(row.path).name: (row.kind, row.message) for row in rows}


@pytest.mark.parametrize(
    ("opens", "reason"),
    [
        ("raise", "AttributeError: no such layer in this model"),
        ("exit", "SystemExit: 3"),
        ("nonsense", "TypeError: what BLIPQ_CAPTIONER opened is no captioner: a NoneType without device"),
        ("kill", "the process that loads it was ended by SIGKILL (perhaps for want of memory)"),
    ],
)
def test_a_model_that_cannot_be_opened_fails_its_job_and_starves_nobody(
    build: Callable[..., House], opens: str, reason: str
) -> None:
    # Given a job whose model cannot be opened, before one with a good model
    house = build()
    watch_fences(house)
    assert house.blipq("pause").returncode == 0
    bad = house.enqueue(house.paint(range(4), "bad"), "--model", str(house.make_model("stone", opens=opens)))
    good = house.enqueue(house.paint(range(10, 14), "good"))
    house.supervise()
    # When both are due
    began = time.monotonic()
    assert house.blipq("resume").returncode == 0
    # Then the good one is done while the other is still tried
    until(lambda: _job(house, good).state == "done", 60, "the good job's end")
    assert _job(house, bad).state in ("queued", "running")
    until(lambda: _job(house, bad).state == "failed", 60 - (time.monotonic() - began), "the bad job's end")
    # And its row says why, and what to do
    assert _job(house, bad).note == (
        f"the model cannot be used: {reason} (3 attempts): mend it, then `blipq retry {bad}`, or use another model"
    )
    # And once the model is mended, a retry captions all
    (house.folder / "stone" / "opens").unlink()
    assert house.blipq("retry", str(bad)).returncode == 0
    house.wait_done(60)
    assert _job(house, bad) == ("done", None, 0)
    check(house, repeats_allowed=0)


def test_who_waits_hears_within_seconds_why_a_model_cannot_be_used(build: Callable[..., House]) -> None:
    house = build()
    stone = house.make_model("stone", opens="raise")
    done = house.blipq("enqueue", house.paint(range(2), "some"), "--model", stone, "--wait", timeout=60)
    assert done.returncode == 1
    assert "AttributeError: no such layer in this model; tried again" in done.stderr
    assert "the model cannot be used: AttributeError: no such layer in this model (3 attempts)" in done.stdout


def test_a_model_without_room_waits_and_says_so(build: Callable[..., House]) -> None:
    house = build()
    house.supervise()
    job = house.enqueue(house.paint(range(2), "some"), "--model", str(house.make_model("large", opens="memory")))
    until(lambda: _job(house, job).note, 30, "a note")
    assert _job(house, job) == (
        "queued",
        "no memory for the model: MemoryError: no room for weights; tried again every 30 s",
        0,
    )


def test_a_worker_told_to_stop_while_it_loads_counts_nothing(build: Callable[..., House]) -> None:
    # Given workers that are killed by hand after SIGTERM: their supervisor told them to end
    house = build()
    watch_fences(house)
    supervisor = house.supervise()
    house.enqueue(house.paint(range(4), "some"))
    until(lambda: house.sql("SELECT 1 FROM worker WHERE loading_job IS NOT NULL OR model IS NOT NULL"), 30, "a load")
    signal_to(supervisor.pid, witness.signal.SIGTERM)
    assert supervisor.wait(30) == 0
    assert house.sql("SELECT attempts FROM job") == [(0,)]
    house.supervise()
    house.wait_done(60)
    check(house, repeats_allowed=0)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (witness.RAISE, "ValueError: a picture of nothing"),
        (witness.SHORT, "TypeError: the captioner answered 1 pictures with []"),
    ],
)
def test_a_picture_that_the_model_fails_on_is_found_in_the_same_process(
    build: Callable[..., House], does: int, reason: str
) -> None:
    # Given 32 pictures, one of which the model raises on
    house = build(settings={"BLIPQ_BATCH_SIZE": "8"})
    watch_fences(house)
    folder = house.paint(range(32), "many")
    house.paint([13], "many", does=does)
    house.supervise()
    # When they are captioned
    house.enqueue(folder)
    house.wait_done(60)
    # Then 31 have their captions, that one its reason, and no process died
    assert _failures(house) == {"000013.png": ("crash", f"the model fails on this picture alone: {reason}")}
    assert house.captioned() == 31
    assert len({pid for _, pid, _ in house.batches()}) == 1
    assert not house.sql("SELECT 1 FROM unit WHERE crashes > 0")
    check(house, repeats_allowed=8 * house.runs()[13], failures_allowed=1)


def test_a_model_that_fails_on_every_picture_fails_its_job_early(build: Callable[..., House]) -> None:
    # Given 200 pictures for a model that raises on each, and a good job behind them
    house = build(settings={"BLIPQ_BATCH_SIZE": "8"})
    bad = house.enqueue(house.paint(range(200), "bad"), "--model", str(house.make_model("stone", always="raise")))
    good = house.enqueue(house.paint(range(300, 304), "good"))
    house.supervise()
    # When they are captioned
    house.wait_done(60)
    # Then the job ends with the reason after some pictures, in one process
    assert _job(house, bad)[:2] == (
        "failed",
        f"the model fails on every picture: KeyError: 'a model of stone': mend it, then `blipq retry {bad}`",
    )
    assert _job(house, good).state == "done"
    assert len({pid for _, pid, _ in house.batches()}) == 1
    assert house.runs().total() < 60


@pytest.mark.skipif(os.environ.get("BLIPQ_TEST_LONG") != "1", reason="a part of `make faults`")
def test_a_model_that_kills_its_process_over_every_batch_ends_its_job(build: Callable[..., House]) -> None:
    house = build(settings={"BLIPQ_BATCH_SIZE": "64"})
    bad = house.enqueue(house.paint(range(64), "bad"), "--model", str(house.make_model("bomb", always="segfault")))
    house.supervise()
    until(lambda: _job(house, bad).state == "failed", 150, "the job's end", 0.1)
    assert "the model's process was ended by SIGSEGV over every batch (16 attempts)" in _job(house, bad).note
    assert len({pid for _, pid, _ in house.batches()}) == 16


def test_a_picture_that_harms_the_device_costs_processes_and_its_reason_is_told(build: Callable[..., House]) -> None:
    # Given an error after which a process cannot use its device
    house = build(settings={"BLIPQ_BATCH_SIZE": "4"})
    watch_fences(house)
    folder = house.paint(range(4), "some")
    house.paint([2], "some", does=witness.HARM)
    house.supervise()
    house.enqueue(folder)
    house.wait_done(120)
    reason = "RuntimeError: CUDA error: device-side assert triggered"
    assert _failures(house) == {"000002.png": ("crash", f"the model's process died over this picture alone: {reason}")}
    assert house.captioned() == 3
    assert len({pid for _, pid, _ in house.batches()}) > 1
    check(house, repeats_allowed=4 * house.runs()[2], failures_allowed=1)
