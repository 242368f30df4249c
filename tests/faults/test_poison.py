"""One bad picture costs no good caption, and is named with its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import witness
from house import House, long_run, until
from invariants import check, watch_fences


def _failures(house: House) -> dict[str, tuple[str, str]]:
    rows = house.sql("SELECT path, kind, message FROM failures ORDER BY path")
    return {Path(row.path).name: (row.kind, row.message) for row in rows}


def test_a_picture_that_kills_the_models_process_is_cornered_and_named(build: Callable[..., House]) -> None:
    # Given 64 pictures, one of which kills the process that runs the model on it
    house = build(settings={"BLIPQ_BATCH_SIZE": "8"})
    watch_fences(house)
    folder = house.paint(range(64), "sixty-four")
    house.paint([30], "sixty-four", does=witness.SEGFAULT)
    house.supervise()
    # When they are captioned
    job = house.enqueue(folder)
    house.wait_done(150)
    # Then 63 have their caption, and the one is named
    assert list(_failures(house)) == ["000030.png"]
    kind, message = _failures(house)["000030.png"]
    assert kind == "crash"
    assert "2 times" in message
    assert house.captioned() == 63
    # And no picture but those that were beside it was run again: a batch a crash
    crashes = house.runs()[30]
    assert 2 <= crashes <= 6
    check(house, repeats_allowed=8 * crashes, failures_allowed=1)
    (shown,) = house.answer("status", str(job))["jobs"]
    assert (shown["state"], shown["done"], shown["failed"], shown["remaining"]) == ("done", 63, 1, 0)


@long_run
def test_a_picture_that_hangs_the_model_ends_at_the_limit_of_a_batch(build: Callable[..., House]) -> None:
    # Given a picture that the model never finishes, among others
    house = build(settings={"BLIPQ_BATCH_LIMIT": "1.5", "BLIPQ_LEASE": "3"})
    watch_fences(house)
    folder = house.paint(range(4), "four")
    house.paint([2], "four", does=witness.HANG)
    house.supervise()
    # When they are captioned
    house.enqueue(folder)
    house.wait_done(120)
    # Then the others are, and the log says why the worker ended
    assert _failures(house)["000002.png"][0] == "crash"
    assert house.captioned() == 3
    assert house.said(r"a batch hangs for more than 1\.5 s")
    check(house, repeats_allowed=4 * house.runs()[2], failures_allowed=1)


@long_run
def test_files_that_cannot_be_decoded_are_named_each_with_its_kind(build: Callable[..., House]) -> None:
    # Given 60 good pictures, and some that are not
    house = build(settings={"BLIPQ_MAX_BYTES": "4000000", "BLIPQ_MAX_PIXELS": "1000000"})
    watch_fences(house)
    folder = house.paint(range(60), "mixed")
    good = (folder / "000000.png").read_bytes()
    (folder / "cut.png").write_bytes(good[:90])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("version https://git-lfs.github.com/spec/v1")
    (folder / "large.png").write_bytes(good + bytes(4_000_000))
    witness.Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    house.supervise()
    # When they are captioned
    house.enqueue(folder)
    house.wait_done(60)
    # Then every good one has its caption, and each of the others a reason
    assert house.captioned() == 60
    kinds = {name: kind for name, (kind, _) in _failures(house).items()}
    assert kinds == {
        "cut.png": "corrupt",
        "empty.jpg": kinds["empty.jpg"],
        "text.jpg": "unsupported",
        "large.png": "too-big",
        "bomb.png": "too-many-pixels",
    }
    assert kinds["empty.jpg"] in ("corrupt", "unsupported")
    check(house, repeats_allowed=0, failures_allowed=5)


@long_run
def test_a_prompt_that_the_model_refuses_fails_its_own_job_alone(build: Callable[..., House]) -> None:
    # Given two jobs in one batch, one with a prompt that the model cannot take
    house = build(settings={"BLIPQ_BATCH_SIZE": "16"})
    watch_fences(house)
    assert house.blipq("pause").returncode == 0
    house.supervise()
    fine = house.enqueue(house.paint(range(6), "fine"))
    bad = house.enqueue(house.paint(range(10, 16), "bad"), "--prompt", "refuse")
    # When they are captioned
    assert house.blipq("resume").returncode == 0
    until(lambda: house.status()["jobs"][0]["state"] == "failed", 60, "the bad job's end", 0.3)
    until(lambda: house.captioned() == 6, 30, "the fine job's captions")
    # Then only that job failed, and says why
    states = {job["id"]: (job["state"], job["note"]) for job in house.status()["jobs"]}
    assert states[fine][0] == "done"
    assert states[bad] == ("failed", "a prompt that this model refuses")
