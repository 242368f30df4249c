"""Memory that runs out makes batches smaller, never a job fail."""

from __future__ import annotations

from collections.abc import Callable

from house import House, long_run, until
from invariants import check, watch_fences


@long_run
def test_batches_are_halved_until_they_fit_and_the_size_is_remembered(build: Callable[..., House]) -> None:
    # Given a device with room for 5 pictures, and batches of 32
    house = build(settings={"BLIPQ_BATCH_SIZE": "32"})
    room = house.folder / "room"
    room.write_text("5")
    house.env["WITNESS_ROOM"] = str(room)
    watch_fences(house)
    supervisor = house.supervise()
    # When 100 pictures are captioned
    house.enqueue(house.paint(range(100), "hundred"))
    house.wait_done(60)
    # Then all are, in batches of 4, and the ledger remembers the size
    check(house, repeats_allowed=0)
    assert max(len(numbers) for _, _, numbers in house.batches()) == 4
    assert house.sql("SELECT device, size FROM batch_size") == [("cpu", 4)]
    assert house.said("memory ran out at 32 pictures a batch: going on with 16")
    # And a new process begins with it
    supervisor.terminate()
    supervisor.wait(20)
    begun = len(house.log.read_text())
    house.supervise()
    house.enqueue(house.paint(range(200, 240), "more"))
    house.wait_done(60)
    assert "memory ran out" not in house.log.read_text()[begun:]
    assert max(len(numbers) for _, _, numbers in house.batches()) == 4


@long_run
def test_a_single_picture_without_room_waits_and_goes_on(build: Callable[..., House]) -> None:
    # Given a device that another program fills
    house = build(settings={"BLIPQ_BATCH_SIZE": "2"})
    room = house.folder / "room"
    room.write_text("0")
    house.env["WITNESS_ROOM"] = str(room)
    watch_fences(house)
    house.supervise()
    house.enqueue(house.paint(range(4), "four"))
    until(lambda: any("no memory" in (w["note"] or "") for w in house.status()["workers"]), 30, "a note", 0.3)
    # When there is room again
    room.write_text("8")
    # Then the job goes on by itself
    house.wait_done(60)
    check(house, repeats_allowed=0)
