"""A worker's pulse: what a supervisor sees of it, alive and dead, without any database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from blipq.worker.pulse import FROZEN_LOOKS, HUNG, PULSE, START_LOOKS, SUPERVISOR, Monitor, Pulse
from blipq.worker.seat import SURE_SECONDS, Death

WORKER = """
import sys, time
from blipq.worker.pulse import inherited
pulse = inherited(limit=float(sys.argv[1]))
pulse.start()
pulse.name(7)
pulse.busy([3, 5])
print("busy", flush=True)
time.sleep(60)
"""


def _start(monitor: Monitor, limit: float = 60, parent: int | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, PULSE: str(monitor.descriptor), SUPERVISOR: str(parent or os.getpid())}
    command = [sys.executable, "-c", WORKER, str(limit)]
    started = subprocess.Popen(
        command,
        env=environment,
        pass_fds=[monitor.descriptor],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    if parent is None:  # else it may be asked to end before it comes to that
        assert started.stdout.readline().strip() == "busy"
    return started


def _end(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=20)
    return process.returncode


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_was_on_the_model_is_known_when_the_process_is_dead() -> None:
    monitor = Monitor()
    process = _start(monitor)
    process.kill()
    _end(process)
    said = monitor.vitals()
    assert (said.worker_id, said.on_model) == (7, (3, 5))
    # And the next process says nothing before it is asked to
    monitor.reset()
    assert (monitor.vitals().worker_id, monitor.vitals().on_model) == (0, ())


def test_a_frozen_process_stops_beating_and_a_living_one_does_not() -> None:
    monitor = Monitor()
    process = _start(monitor)
    _until(lambda: monitor.vitals().beats > 1)
    # Given looks that are further apart than beats
    assert not monitor.has_stopped()
    before = monitor.vitals().beats
    _until(lambda: monitor.vitals().beats > before)
    assert not monitor.has_stopped()
    # When it freezes, it counts as dead only after many looks
    process.send_signal(signal.SIGSTOP)
    looks = [monitor.has_stopped() for _ in range(FROZEN_LOOKS + 1)]
    assert looks == [*[False] * looks.index(True), *[True] * (len(looks) - looks.index(True))]
    assert looks.count(False) >= FROZEN_LOOKS - 1
    # And where it wakes up before, nothing came of it
    process.send_signal(signal.SIGCONT)
    before = monitor.vitals().beats
    _until(lambda: monitor.vitals().beats > before)
    assert not monitor.has_stopped()
    process.kill()
    _end(process)


def test_a_process_that_never_begins_to_beat_is_given_time() -> None:
    monitor = Monitor()
    assert [monitor.has_stopped() for _ in range(START_LOOKS)] == [*[False] * (START_LOOKS - 1), True]


def test_a_batch_past_its_limit_ends_the_process_and_is_known() -> None:
    monitor = Monitor()
    process = _start(monitor, limit=0.5)
    assert _end(process) == HUNG
    assert monitor.vitals().on_model == (3, 5)


def test_a_worker_ends_when_its_supervisor_is_gone() -> None:
    assert _end(_start(Monitor(), parent=1)) == -signal.SIGTERM


def test_many_units_on_the_model_are_told_and_none_when_it_is_idle() -> None:
    monitor = Monitor()
    pulse = Pulse(60, monitor.descriptor)
    pulse.busy(range(4096))
    assert monitor.vitals().on_model == tuple(range(4096))
    pulse.busy([9])
    assert monitor.vitals().on_model == (9,)
    pulse.idle()
    assert monitor.vitals().on_model == ()


@pytest.mark.parametrize(("ago", "doubtful"), [(0.0, True), (SURE_SECONDS + 1, False)])
def test_a_death_in_an_outage_is_blamed_on_nobody(ago: float, doubtful: bool) -> None:
    monitor = Monitor()
    Pulse(60, monitor.descriptor).busy([9])
    now = time.monotonic()
    assert Death(monitor.vitals(), now).guilty() == (9,)
    assert Death(monitor.vitals(), now - ago, doubtful).guilty() == ()
