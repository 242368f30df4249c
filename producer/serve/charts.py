"""Line charts as SVG, drawn here: nothing to load, readable in light and dark, and with a table for who cannot see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 30  # margins
MOST_POINTS = 360  # one every two pixels
SMOOTH_POINTS = 200  # from there on the line is a running mean over a fiftieth of the points, the points behind it


@dataclass(frozen=True)
class Line:
    """A named series of (x, y), by x."""

    name: str
    points: Sequence[tuple[float, float]]
    smooth: bool = False


@dataclass(frozen=True)
class Path:
    """A line as SVG takes it: `points` of a polyline, and `behind`, those of the unsmoothed one."""

    name: str
    points: str
    behind: str
    last: str


@dataclass(frozen=True)
class Chart:
    """What the template draws. Ticks are (position, text)."""

    title: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    paths: Sequence[Path]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def chart(title: str, lines: Sequence[Line]) -> Chart:
    """Lay out a chart; without points it has no paths and no ticks."""
    lines = [Line(s.name, _finite(s.points), s.smooth) for s in lines]
    drawn = [(line, _smoothed(line)) for line in lines if line.points]
    frame = (title, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM)
    if not drawn:
        return Chart(*frame, [], [], [])
    xs = [x for line, _ in drawn for x, _ in line.points]
    ys = [y for _, points in drawn for _, y in points]  # what noise overshoots is cut off
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    steps = _ticks(min(ys), max(ys))
    y_low, y_high = min(steps[0], min(ys)), max(steps[-1], max(ys))

    def place(points: Sequence[tuple[float, float]]) -> str:
        spots = []
        for x, y in _thinned(points):
            at = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - RIGHT - LEFT)
            up = (min(max(y, y_low), y_high) - y_low) / (y_high - y_low)
            spots.append(f"{at:.1f},{HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP):.1f}")
        return " ".join(spots)

    paths = [
        Path(line.name, place(points), place(line.points) if points is not line.points else "", f"{points[-1][1]:.4g}")
        for line, points in drawn
    ]
    x_ticks = [
        (LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - RIGHT - LEFT), f"{x:,.0f}")
        for x in _ticks(x_low, x_high)
        if x_low <= x <= x_high and x == int(x)
    ]
    y_ticks = [
        (HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - BOTTOM - TOP), f"{y:.6g}".replace("e-0", "e-"))
        for y in steps
    ]
    return Chart(*frame, paths, x_ticks, y_ticks)


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(y)]


def _smoothed(line: Line) -> Sequence[tuple[float, float]]:
    if not line.smooth or len(line.points) < SMOOTH_POINTS:
        return line.points
    span = len(line.points) // 50
    sums = [0.0]
    for _, y in line.points:
        sums.append(sums[-1] + y)
    made = []
    for at, (x, _) in enumerate(line.points):
        first = max(0, at + 1 - span)
        made.append((x, (sums[at + 1] - sums[first]) / (at + 1 - first)))
    return made


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS`: of each stretch its lowest and highest, so that no spike is lost."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / (MOST_POINTS // 2))
    made = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        made += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return made


def _ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers that reach from below the lowest to above the highest."""
    span = high - low or abs(high) or 1.0
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= raw)
    first = math.floor(low / step)
    last = max(math.ceil(high / step), first + 1)
    return [round(number * step, 12) for number in range(first, last + 1)]
