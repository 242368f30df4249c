"""A run's curves as a figure, and the canvas that other figures share.

Rows come in as plain dataclasses, files go out as PNG or SVG, by their suffix. matplotlib is imported when a figure is
drawn, and used without pyplot, so that no window system and no state of its own is touched.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blipq.producer.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = "pip install 'blipq[plot]' first: figures need matplotlib"
SUFFIXES = (".png", ".svg")
# Okabe and Ito's colours, which people who confuse red and green tell apart.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#222222",
)  # fmt: skip
GREY, PALE = "#6b6b6b", "#e6e6e6"
TITLE: Mapping[str, Any] = {"fontsize": 13, "fontweight": "bold", "color": BLACK}
METRICS = {
    "cider_d": "CIDEr-D",
    "bleu_1": "BLEU-1",
    "bleu_2": "BLEU-2",
    "bleu_3": "BLEU-3",
    "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "own_words": "own words",
}
PIXELS_AN_INCH = 150


@dataclass(frozen=True)
class StepRow:
    """A row of the `loss` table."""

    step: int
    loss: float
    unsmoothed: float
    learning_rate: float


@dataclass(frozen=True)
class EpochRow:
    """A row of the `epoch` table; `metrics` by the names that `evaluate` stores."""

    epoch: int
    step: int
    validation_loss: float | None
    metrics: Mapping[str, float]


def plot_run(title: str, steps: Sequence[StepRow], epochs: Sequence[EpochRow], paths: Iterable[Path]) -> None:
    """Draw a run's losses, learning rate and metrics, one under the other, into each of the paths.

    Steps that hold no finite number leave a gap. Raises UserError: no steps, no matplotlib, or a suffix that is neither
    .png nor .svg.
    """
    if not steps:
        raise UserError("this run has no steps yet: nothing to plot")
    figure = canvas(8.0)
    panels = [(_draw_losses, 3.0), (_draw_learning_rate, 1.5)]
    if any(row.metrics for row in epochs):
        panels.append((_draw_metrics, 2.4))
    height = sum(height for _, height in panels) + 0.9
    figure.set_figheight(height)
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[height for _, height in panels])
    first: Axes | None = None
    for at, (draw, _) in enumerate(panels):
        axes = figure.add_subplot(grid[at], sharex=first)
        first = first or axes
        draw(axes, steps, epochs)
        _tidy(axes)
        axes.tick_params(labelbottom=at == len(panels) - 1)
    axes.set_xlabel("step", color=GREY)
    axes.set_xlim(0, steps[-1].step * 1.01)
    axes.locator_params(axis="x", integer=True, steps=[1, 2, 5, 10])
    figure.text(0.02, 1 - 0.25 / height, printable(title), va="center", parse_math=False, **TITLE)
    figure.align_ylabels()
    figure.set_layout_engine("constrained", rect=(0.01, 0.01, 0.98, 0.99 - 0.45 / height))
    save(figure, paths)


def canvas(width: float) -> Figure:
    """An empty figure so many inches wide, whose height is still to be set. Raises UserError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(INSTALL) from None
    figure = Figure(figsize=(width, 1.0), dpi=PIXELS_AN_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, paths: Iterable[Path]) -> None:
    """Write the figure into each path. Raises UserError for a suffix that is neither .png nor .svg."""
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path.name}: figures are written as .png or .svg")
        with warnings.catch_warnings():
            # A caption in a script that the font lacks shows boxes; it must not fail the figure.
            warnings.filterwarnings("ignore", message=".*missing from font.*")
            figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def printable(text: str) -> str:
    """The text without line ends and control signs, which make an SVG invalid."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def _tidy(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(PALE)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, length=0, labelsize=9)
    axes.margins(x=0.01)


def _marker(steps: Sequence[StepRow]) -> str:
    """A line of one step is not seen without a mark."""
    return "o" if len(steps) < 20 else ""


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, fontsize=9,
                labelcolor=BLACK, handlelength=1.6)  # fmt: skip


def _mean(values: Sequence[float], width: int) -> list[float]:
    """Mean of the finite values at most `width` places to either side: an even look at a loss that jumps."""
    known = [math.isfinite(value) for value in values]
    sums = list(
        accumulate((value if is_known else 0.0 for value, is_known in zip(values, known, strict=True)), initial=0.0)
    )
    counts = list(accumulate(known, initial=0))
    means = []
    for at in range(len(values)):
        start, end = max(0, at - width), min(len(values), at + width + 1)
        count = counts[end] - counts[start]
        means.append((sums[end] - sums[start]) / count if count else math.nan)
    return means


def _draw_losses(axes: Axes, steps: Sequence[StepRow], epochs: Sequence[EpochRow]) -> None:
    at = [row.step for row in steps]
    width = min(25, len(steps) // 20)
    marker = _marker(steps)
    drawn = [("train", BLUE, [row.unsmoothed for row in steps])]
    if any(row.loss != row.unsmoothed for row in steps):
        drawn.insert(0, ("train, labels smoothed", SKY, [row.loss for row in steps]))
    every: list[float] = []
    for name, colour, values in drawn:
        means = _mean(values, width)
        axes.plot(at, values, color=colour, linewidth=0.6, alpha=0.25)
        axes.plot(at, means, color=colour, linewidth=1.8, marker=marker, markersize=4, label=name)
        every += [value for value in means if math.isfinite(value)]
    held = [row for row in epochs if row.validation_loss is not None and math.isfinite(row.validation_loss)]
    if held:
        losses = [row.validation_loss or 0.0 for row in held]
        every += losses
        axes.plot([row.step for row in held], losses, color=VERMILION, linewidth=1.8, marker="o", markersize=4,
                  label="validation")  # fmt: skip
        best = min(held, key=lambda row: row.validation_loss or 0.0)
        # The last epoch is often the best, and lies on the edge.
        axes.plot([best.step], [best.validation_loss or 0.0], linestyle="none", marker="o", markersize=10,
                  markerfacecolor="none", markeredgecolor=BLACK, clip_on=False,
                  label=f"best: epoch {best.epoch}")  # fmt: skip
    # Single batches may jump far above: what is judged is the means and the validation.
    if every:
        low, high = min(every), max(every)
        axes.set_ylim(max(0.0, low - 0.15 * (high - low) - 1e-3), high + 0.1 * (high - low) + 1e-3)
    axes.set_ylabel("loss", color=GREY)
    _legend(axes)


def _draw_learning_rate(axes: Axes, steps: Sequence[StepRow], epochs: Sequence[EpochRow]) -> None:
    axes.plot(
        [row.step for row in steps],
        [row.learning_rate for row in steps],
        color=GREEN,
        linewidth=1.8,
        marker=_marker(steps),
        markersize=4,
    )
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4, steps=[1, 2, 5, 10])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("learning rate", color=GREY)


def _draw_metrics(axes: Axes, steps: Sequence[StepRow], epochs: Sequence[EpochRow]) -> None:
    colours = (VERMILION, SKY, ORANGE, PINK, BLUE, GREEN, BLACK, GREY)
    markers = "osD^vP*X"
    for (name, label), colour, marker in zip(METRICS.items(), colours, markers, strict=True):
        rows = [row for row in epochs if name in row.metrics]
        if rows:
            axes.plot([row.step for row in rows], [row.metrics[name] for row in rows], color=colour, marker=marker,
                      markersize=4.5, linewidth=1.6, label=label)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_ylabel("validation metrics", color=GREY)
    _legend(axes)
