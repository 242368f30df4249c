from __future__ import annotations

from itertools import pairwise

import pytest

from blipq.worker.engine.training.schedule import rate


def rates(schedule: str, warmup: float = 0.1) -> list[float]:
    return [rate(schedule, 1.0, step, 100, step // 10, 10, warmup) for step in range(100)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "cosine-epoch"])
def test_it_rises_to_the_peak_and_never_past_it(schedule):
    got = rates(schedule)
    assert got[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert max(got) == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_it_falls_each_step_to_nearly_nothing(schedule):
    got = rates(schedule)[10:]
    assert all(after < before for before, after in pairwise(got))
    assert got[-1] < 0.02


def test_cosine_a_epoch_changes_with_the_epoch_alone():
    got = rates("cosine-epoch", 0.0)
    assert len(set(got)) == 10
    assert got[50] == pytest.approx(0.5)


def test_constant_stays():
    assert set(rates("constant", 0.0)) == {1.0}
