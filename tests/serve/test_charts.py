"""Charts: everything inside its frame, nothing lost, whatever the numbers are."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from blipq.producer.serve.charts import MOST_POINTS, Chart, Line, chart

FINITE = st.floats(-1e12, 1e12, allow_nan=False)


def spots(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, _, y in (pair.partition(",") for pair in points.split())]


def inside(made: Chart, points: Sequence[tuple[float, float]]) -> bool:
    return all(made.left - 0.1 <= x <= made.right + 0.1 and made.top - 0.1 <= y <= made.bottom + 0.1 for x, y in points)


@given(st.lists(FINITE, min_size=1, max_size=60))
def test_every_point_and_tick_lies_in_the_frame(values: list[float]) -> None:
    made = chart("t", [Line("a", list(enumerate(values)))])
    (path,) = made.paths
    assert len(spots(path.points)) == len(values)
    assert inside(made, spots(path.points))
    assert all(made.top - 0.1 <= at <= made.bottom + 0.1 for at, _ in made.y_ticks)
    assert 2 <= len(made.y_ticks) <= 12


def test_a_long_line_is_thinned_and_keeps_its_spike() -> None:
    values = [(n, 100.0 if n == 4321 else 1.0) for n in range(10_000)]
    made = chart("t", [Line("a", values)])
    drawn = spots(made.paths[0].points)
    assert len(drawn) <= MOST_POINTS + 2
    assert min(y for _, y in drawn) <= made.top + 1


def test_a_noisy_line_has_its_mean_before_it() -> None:
    made = chart("t", [Line("a", [(n, float(n % 2)) for n in range(1000)], smooth=True)])
    (path,) = made.paths
    assert path.behind
    assert abs(float(path.last) - 0.5) < 0.1


def test_what_is_no_number_is_left_out() -> None:
    made = chart("t", [Line("a", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)]), Line("b", [])])
    assert [path.name for path in made.paths] == ["a"]
    assert len(spots(made.paths[0].points)) == 2


def test_without_points_there_is_nothing_to_draw() -> None:
    assert chart("t", [Line("a", [])]).paths == []
