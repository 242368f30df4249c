"""What a person says is done within one batch, and `status` tells the truth meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import witness
from house import BATCH, House, long_run, until
from invariants import check, watch_fences

LEFT = "SELECT count(*) FROM item WHERE state = 'queued' AND job_id = :job"


@contextmanager
def _captioning(build: Callable[..., House], pictures: int = 64, **settings: str) -> Iterator[tuple[House, int]]:
    """A house whose worker is in the middle of a job, 0.5 s a batch."""
    house = build(settings={"WITNESS_SECONDS": "0.125", **settings})
    watch_fences(house)
    house.supervise()
    job = house.enqueue(house.paint(range(pictures), "backlog"))
    until(lambda: house.captioned() >= BATCH, 30, "the first captions")
    yield house, job


def test_cancel_ends_within_a_batch_and_retry_all_takes_up_the_rest(build: Callable[..., House]) -> None:
    with _captioning(build) as (house, job):
        # When the job is cancelled
        answer = house.answer("cancel", str(job))
        ran = house.runs().total()
        time.sleep(2)
        # Then no batch begins any more but the one that was just beginning, and nothing of it is written
        assert house.runs().total() - ran <= BATCH
        captioned = house.captioned()
        assert answer["cancelled"] == 64 - captioned
        (shown,) = house.status()["jobs"]
        assert (shown["state"], shown["done"], shown["running"], shown["queued"]) == ("cancelled", captioned, 0, 0)
        # And retry finds nothing that failed, retry --all the rest
        assert house.answer("retry", str(job))["queued"] == 0
        assert house.answer("retry", str(job), "--all")["queued"] == 64 - captioned
        house.wait_done(60)
        check(house, repeats_allowed=BATCH)
        assert house.status()["jobs"][0]["state"] == "done"


@long_run
def test_pause_ends_within_a_batch_and_resume_goes_on(build: Callable[..., House]) -> None:
    with _captioning(build) as (house, _):
        # When the queue is paused
        assert house.blipq("pause").returncode == 0
        ran = house.runs().total()
        time.sleep(2)
        # Then the batch ends, what was claimed is handed back unharmed, and status says so
        assert house.runs().total() - ran <= BATCH
        shown = house.status()
        assert shown["paused"] == ["caption"]
        assert (shown["jobs"][0]["running"], shown["jobs"][0]["queued"]) == (0, 64 - house.captioned())
        assert [worker["state"] for worker in shown["workers"] if worker["queue"] == "caption"] == ["idle"]
        # And nothing more happens until it is resumed
        captioned = house.captioned()
        time.sleep(1)
        assert house.captioned() == captioned
        assert house.blipq("resume").returncode == 0
        house.wait_done(60)
        check(house, repeats_allowed=0)


@long_run
def test_a_high_priority_job_overtakes_a_backlog_within_a_batch(build: Callable[..., House]) -> None:
    with _captioning(build) as (house, _):
        # When somebody is in a hurry
        house.enqueue(house.paint([1000, 1001], "urgent"), "--priority", "high")
        house.wait_done(60)
        (asked,) = house.sql("SELECT created_at FROM job WHERE priority > 0")
        # Then at most the batch that ran, and one that was just beginning, come before
        after = [numbers for at, _, numbers in house.batches() if at > asked.created_at]
        position = next(at for at, numbers in enumerate(after) if 1000 in numbers)
        assert position <= 1
        check(house, repeats_allowed=0)


@long_run
def test_retry_tries_the_failed_ones_alone_and_says_how_often_they_were_tried(build: Callable[..., House]) -> None:
    # Given a job of which two files are broken
    house = build()
    watch_fences(house)
    folder = house.paint(range(20), "some")
    broken = [house.painted[number][0] for number in (3, 7)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:90])
    house.supervise()
    job = house.enqueue(folder)
    house.wait_done(60)
    assert house.status()["jobs"][0]["failed"] == 2
    # When one is repaired and the job tried again
    witness.paint(3).save(broken[0], compress_level=0)
    assert house.answer("retry", str(job))["queued"] == 2
    house.wait_done(60)
    # Then that one has its caption, and the other says that it was tried twice
    rows = house.sql("SELECT path, kind, attempts FROM failures")
    assert [(row.path, row.kind, row.attempts) for row in rows] == [(str(broken[1]), "corrupt", 2)]
    (shown,) = house.status()["jobs"]
    assert (shown["state"], shown["done"], shown["failed"]) == ("done", 19, 1)
    assert sum(house.runs().values()) == 19
    check(house, repeats_allowed=0, failures_allowed=1)


@long_run
def test_a_disk_that_goes_and_comes_back_costs_no_failure(build: Callable[..., House]) -> None:
    # Given a job in the middle of its folder
    with _captioning(build, pictures=64) as (house, job):
        folder = house.photos / "backlog"
        # When the folder goes
        folder.rename(house.photos / "away")
        until(lambda: "storage unreachable" in (house.status()["jobs"][0]["note"] or ""), 60, "a note", 0.3)
        # Then the job waits, without a failure
        assert house.status()["jobs"][0]["failed"] == 0
        assert house.sql(LEFT, job=job)[0][0] > 0
        # And goes on by itself when it is back
        (house.photos / "away").rename(folder)
        house.wait_done(90)
        assert house.status()["jobs"][0]["failed"] == 0
        check(house, repeats_allowed=0)


@long_run
def test_a_photo_that_was_deleted_is_a_failure_and_holds_nothing_up(build: Callable[..., House]) -> None:
    with _captioning(build, pictures=32) as (house, _):
        # When the last photo is deleted before its turn
        house.painted[31][0].unlink()
        house.wait_done(30)
        # Then it alone failed
        assert [row.kind for row in house.sql("SELECT kind FROM failures")] == ["missing"]
        check(house, repeats_allowed=0, failures_allowed=1)
