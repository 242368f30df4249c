"""How long it takes until what a dead, leaving or forgotten worker held is gone on with."""

from __future__ import annotations

import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from house import BATCH, LEASE, LONG, House, alive, long_run, signal_to, until
from invariants import check, watch_fences

from blipq.worker.pulse import FROZEN_LOOKS, LOOK_SECONDS
from blipq.worker.writer import UNWRITTEN

RUNNING = "SELECT count(*) FROM unit WHERE state = 'running'"


def test_a_killed_workers_units_are_due_again_within_two_seconds(
    build: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    house = build(settings={"WITNESS_SECONDS": "0.1"})
    watch_fences(house)
    house.supervise()
    due, captions = [], []
    kills = 10 if LONG else 2
    for kill in range(kills):
        # Given a worker in the middle of its batches
        before = house.captioned()
        house.enqueue(house.paint(range(100 * kill, 100 * kill + 60), f"{kill}"))
        until(lambda before=before: house.captioned() > before, 30, "a caption")
        (pid,) = house.workers()
        # When it is killed
        signal_to(pid, signal.SIGKILL)
        killed = time.monotonic()
        until(lambda: house.sql(RUNNING)[0][0] == 0, 10, "its units due again", 0.005)
        due.append(time.monotonic() - killed)
        house.wait_caption(60)
        captions.append(time.monotonic() - killed)
        house.wait_done(60)
    # Then its supervisor gives its units back at once, and at most one batch is done again
    assert max(due) <= 2
    check(house, repeats_allowed=BATCH * kills)
    with capsys.disabled():
        middle = statistics.median
        print(f"\nkill -9 to due again: median {middle(due):.2f} s, longest {max(due):.2f} s, n={kills}")
        print(f"kill -9 to the next caption: median {middle(captions):.2f} s, longest {max(captions):.2f} s")


def test_a_kill_amid_quick_batches_costs_the_one_on_the_model_and_those_being_written(
    build: Callable[..., House],
) -> None:
    # Given batches of 20 ms, which do not wait for one another's writing
    house = build(settings={"WITNESS_SECONDS": "0.005"})
    watch_fences(house)
    house.supervise()
    kills = 3
    for kill in range(kills):
        before = house.captioned()
        house.enqueue(house.paint(range(1000 * kill, 1000 * kill + 400), f"{kill}"))
        until(lambda before=before: house.captioned() > before + 40, 30, "captions")
        (pid,) = house.workers()
        signal_to(pid, signal.SIGKILL)
        house.wait_done(60)
    check(house, repeats_allowed=(1 + UNWRITTEN) * BATCH * kills)


@long_run
def test_a_host_that_is_gone_is_taken_over_when_its_leases_end(
    build: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a worker that holds a unit, and another host with nothing to do
    lease = 30.0 if LONG else LEASE
    house = build(settings={"WITNESS_SECONDS": "0.3", "BLIPQ_LEASE": str(lease)})
    watch_fences(house)
    gone = house.supervise()
    house.enqueue(house.paint(range(200), "many"))
    until(lambda: house.runs().total() >= BATCH, 30, "a batch")
    (worker,) = house.workers()
    house.supervise(beside=True)
    until(lambda: len(house.at_work()) == 2, 30, "the other host")
    assert house.sql("SELECT 1 FROM unit JOIN worker ON worker.id = worker_id AND pid = :pid", pid=worker)
    # When supervisor and worker die together
    signal_to(gone.pid, signal.SIGKILL)
    signal_to(worker, signal.SIGKILL)
    killed = time.monotonic()
    # Then its units are due again when their lease ends, and a sweep
    until(lambda: house.sql("SELECT 1 FROM unit WHERE lapses > 0"), lease + 5, "a sweep")
    took = time.monotonic() - killed
    house.wait_done(120)
    check(house, repeats_allowed=BATCH)
    with capsys.disabled():
        print(f"\nhost gone to due again: {took:.1f} s at a lease of {lease:g} s")


@long_run
def test_a_lost_doorbell_costs_at_most_five_seconds(
    build: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    # Given work whose doorbell was rung in vain, in a paused queue
    house = build()
    watch_fences(house)
    house.supervise()
    took = []
    for time_of_it in range(10 if LONG else 2):
        assert house.blipq("pause").returncode == 0
        house.enqueue(house.paint([time_of_it], f"{time_of_it}"))
        until(house.at_work, 30, "a worker")
        time.sleep(0.5)
        with house.client() as client:
            client.flushall()
        # When it is due, and nobody rings
        house.change("UPDATE queue SET paused = :no", no=False)
        due = time.monotonic()
        # Then a sweeper does
        house.wait_caption(15)
        took.append(time.monotonic() - due)
    with capsys.disabled():
        print(f"\na lost doorbell: median {statistics.median(took):.2f} s, longest {max(took):.2f} s, n={len(took)}")
    assert max(took) <= 5


def test_sigterm_ends_within_a_batch_and_hands_the_rest_back(
    build: Callable[..., House], capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a worker whose batches take a second, with more than one of them claimed
    house = build(settings={"WITNESS_SECONDS": "0.25"})
    watch_fences(house)
    supervisor = house.supervise()
    house.enqueue(house.paint(range(32), "some"))
    until(lambda: house.runs().total() >= 2 * BATCH, 30, "two batches")
    # When the supervisor is asked to end
    began = time.monotonic()
    signal_to(supervisor.pid, signal.SIGTERM)
    assert supervisor.wait(30) == 0
    took = time.monotonic() - began
    # Then the batch is finished, the rest is due again unharmed, and nothing is done twice
    with capsys.disabled():
        print(f"\nSIGTERM to the end: {took:.2f} s, of which at most 1 s a batch")
    assert took <= 3
    assert house.sql(RUNNING)[0][0] == 0
    assert house.captioned() == house.runs().total()
    assert not house.sql("SELECT 1 FROM unit WHERE crashes > 0 OR lapses > 0")
    assert house.sql("SELECT 1 FROM unit WHERE preemptions = 1")
    assert not house.workers()
    # And the next supervisor goes on with it
    house.supervise()
    house.wait_done(60)
    check(house, repeats_allowed=0)


def test_a_second_signal_kills_the_worker_and_is_no_crash_of_its_batch(build: Callable[..., House]) -> None:
    # Given a batch that takes long
    house = build(settings={"WITNESS_SECONDS": "5"})
    watch_fences(house)
    supervisor = house.supervise()
    house.enqueue(house.paint(range(BATCH), "some"))
    until(lambda: house.runs().total() == BATCH, 30, "the batch")
    # When somebody asks the supervisor to end, and asks again
    signal_to(supervisor.pid, signal.SIGTERM)
    time.sleep(1.5)
    signal_to(supervisor.pid, signal.SIGTERM)
    # Then it ends at once, and the batch is due again unharmed
    assert supervisor.wait(10) == 0
    assert not house.workers()
    assert house.sql("SELECT state, crashes, lapses, preemptions FROM unit") == [("queued", 0, 0, 1)]


@long_run
def test_a_worker_that_stays_frozen_is_replaced(build: Callable[..., House]) -> None:
    # Given a worker at work, and another one
    house = build(settings={"WITNESS_SECONDS": "0.1"})
    watch_fences(house)
    house.supervise("cpu,cpu")
    house.enqueue(house.paint(range(200), "many"))
    until(lambda: house.captioned() > 4, 30, "some captions")
    (frozen, other) = house.workers()
    # When it freezes for good
    signal_to(frozen, signal.SIGSTOP)
    # Then its supervisor kills it and starts another, and leaves the other alone
    until(lambda: not alive(frozen), (FROZEN_LOOKS + 5) * LOOK_SECONDS, "its end")
    until(lambda: len(house.workers()) == 2, 30, "a new worker")
    assert other in house.workers()
    assert house.said("gives no sign of life and is killed")
    house.wait_done(60)
    check(house, repeats_allowed=BATCH)


@long_run
def test_workers_end_when_their_supervisor_is_killed(build: Callable[..., House]) -> None:
    house = build(settings={"WITNESS_SECONDS": "0.1"})
    watch_fences(house)
    supervisor = house.supervise()
    house.enqueue(house.paint(range(64), "some"))
    until(lambda: house.captioned() > 4, 30, "some captions")
    workers = house.workers()
    # When only the supervisor is killed
    signal_to(supervisor.pid, signal.SIGKILL)
    supervisor.wait(5)
    # Then its workers hand back what they hold and end
    until(lambda: not any(map(alive, workers)), 10, "the workers' end")
    assert house.sql(RUNNING)[0][0] == 0
    house.supervise()
    house.wait_done(60)
    check(house, repeats_allowed=0)


@long_run
def test_a_frozen_broker_hangs_no_command(build: Callable[..., House], capsys: pytest.CaptureFixture[str]) -> None:
    # Given commands that take their time to start
    house = build(settings={"WITNESS_SECONDS": "0.01"})
    watch_fences(house)
    supervisor = house.supervise()
    quick = _durations(house, house.paint(range(4), "first"))
    house.wait_done(30)
    # When nobody keeps the broker any more, and it is frozen
    signal_to(supervisor.pid, signal.SIGSTOP)
    broker = house.broker()
    assert broker is not None
    signal_to(broker, signal.SIGSTOP)
    frozen = _durations(house, house.paint(range(10, 14), "second"))
    signal_to(broker, signal.SIGCONT)
    signal_to(supervisor.pid, signal.SIGCONT)
    with capsys.disabled():
        print(
            "\nwith a frozen broker: " + ", ".join(f"{name} {frozen[name]:.1f} s ({quick[name]:.1f})" for name in quick)
        )
    # Then no command hangs longer than the broker's time limit; two seconds are for a machine that is busy otherwise
    assert all(frozen[name] - quick[name] < 5 + 2 for name in quick)
    house.wait_done(60)


def _durations(house: House, folder: Path) -> dict[str, float]:
    took = {}
    for command in (("enqueue", folder), ("status",), ("pause",), ("resume",), ("retry", 1), ("cancel", 1)):
        began = time.monotonic()
        assert house.blipq(*map(str, command), timeout=30).returncode == 0
        took[str(command[0])] = time.monotonic() - began
    return took
