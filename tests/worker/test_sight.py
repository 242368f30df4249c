"""Sight of the ledger: clear only after a lease, and a moment, in which every heartbeat was written."""

from __future__ import annotations

import pytest

from blipq.worker.sight import Sight


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def _beat(sight: Sight, clock: Clock, seconds: float) -> None:
    end = clock.now + seconds
    while clock.now < end:
        sight.wrote()
        clock.now += sight.beat_seconds


@pytest.mark.parametrize("lease", [2.0, 30.0])
def test_sight_is_clear_once_every_living_owner_had_time_to_renew(lease: float) -> None:
    clock = Clock()
    sight = Sight(lease, clock)
    assert not sight.is_clear(), "of a worker that has just begun"
    _beat(sight, clock, lease)
    assert not sight.is_clear()
    _beat(sight, clock, 10)
    assert sight.is_clear()


@pytest.mark.parametrize("lease", [2.0, 30.0])
def test_an_outage_of_which_a_lease_could_die_or_an_error_begins_the_wait_anew(lease: float) -> None:
    for outage in (lease, 0.0):
        # Given a clear sight
        clock = Clock()
        sight = Sight(lease, clock)
        _beat(sight, clock, 2 * lease + 20)
        assert sight.is_clear()
        # When heartbeats hang for as long as a lease, or one fails
        clock.now += outage
        if not outage:
            sight.failed()
        # Then it is clear neither before the next heartbeat nor after it
        assert not sight.is_clear()
        sight.wrote()
        assert not sight.is_clear()
        _beat(sight, clock, lease + 10)
        assert sight.is_clear()


def test_a_heartbeat_that_comes_a_little_late_is_no_break() -> None:
    clock = Clock()
    sight = Sight(30, clock)
    _beat(sight, clock, 60)
    clock.now += 9
    sight.wrote()
    assert sight.is_clear()
