"""Pictures for people, with matplotlib: a run's curves, and photos with their captions in a grid.

Rows come in as plain dataclasses, files go out as PNG or SVG, by their suffix. matplotlib is imported when a figure is
drawn, and used without pyplot, so that no window system and no state of its own is touched.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from blipq.producer.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INSTALL = "figures need matplotlib: pip install 'blipq[plot]'"
SUFFIXES = (".png", ".svg")
# Okabe and Ito's colours, which people who confuse red and green tell apart.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#222222",
)  # fmt: skip
GREY, PALE = "#6b6b6b", "#e6e6e6"
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


@dataclass(frozen=True)
class Tile:
    """A photo and what was said of it: (who, caption) in the order to show; an empty `who` is not written."""

    picture: Path
    captions: Sequence[tuple[str, str]]


def plot_run(title: str, steps: Sequence[StepRow], epochs: Sequence[EpochRow], paths: Iterable[Path]) -> None:
    """Draw a run's losses, learning rate and metrics, one under the other, into each of the paths.

    Steps that hold no finite number leave a gap. Raises UserError: no steps, no matplotlib, or a suffix that is neither
    .png nor .svg.
    """
    if not steps:
        raise UserError("this run has no steps yet: nothing to plot")
    figure = _figure(8.0, 0.0)
    panels = [(_draw_losses, 3.0), (_draw_learning_rate, 1.5)]
    if any(row.metrics for row in epochs):
        panels.append((_draw_metrics, 2.4))
    figure.set_figheight(sum(height for _, height in panels) + 0.8)
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[height for _, height in panels])
    first: Axes | None = None
    for at, (draw, _) in enumerate(panels):
        axes = figure.add_subplot(grid[at], sharex=first)
        first = first or axes
        draw(axes, steps, epochs)
        _tidy(axes)
        axes.tick_params(labelbottom=at == len(panels) - 1)
    axes.set_xlabel("step", color=GREY)
    figure.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold", color=BLACK, parse_math=False)
    figure.set_layout_engine("constrained")
    _save(figure, paths)


def show_grid(title: str, tiles: Sequence[Tile], columns: int, paths: Iterable[Path]) -> None:
    """Draw photos with their captions beneath, so many a row, into each of the paths.

    Photos are turned as their EXIF says; one that cannot be opened is a grey tile with the reason. A caption takes up
    to five lines. Raises UserError: no tiles, no matplotlib, or a suffix that is neither .png nor .svg.
    """
    if not tiles or columns < 1:
        raise UserError("there are no photos to show")
    columns = min(columns, len(tiles))
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    figure = _figure(columns * (TILE + GAP) + GAP, 0.0)
    written = [[_wrapped(figure, tile) for tile in row] for row in rows]
    below = [max(sum(len(lines) for _, lines in tile) for tile in row) * LINE for row in written]
    head = 0.55 if title else GAP
    height = head + sum(PHOTO + 0.08 + text + GAP for text in below)
    figure.set_figheight(height)
    if title:
        figure.text(GAP / figure.get_figwidth(), 1 - 0.3 / height, title, va="center", fontsize=13, fontweight="bold",
                    color=BLACK, parse_math=False)  # fmt: skip
    top = height - head
    for row, texts, text_height in zip(rows, written, below, strict=True):
        for at, (tile, captions) in enumerate(zip(row, texts, strict=True)):
            left = GAP + at * (TILE + GAP)
            _draw_photo(figure, tile.picture, (left, top - PHOTO, TILE, PHOTO), height)
            _draw_captions(figure, captions, left, top - PHOTO - 0.08, height)
        top -= PHOTO + 0.08 + text_height + GAP
    _save(figure, paths)


# Sizes of a tile, in inches.
TILE, PHOTO, GAP, LINE = 3.0, 2.25, 0.2, 0.19
FONT = 9.5
LINES = 5
# Who said it: the first is the base, the second the tuned one.
VOICES = (GREY, BLUE, VERMILION, GREEN)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(INSTALL) from None
    figure = Figure(figsize=(width, height or 1.0), dpi=PIXELS_AN_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, paths: Iterable[Path]) -> None:
    for path in paths:
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{path.name}: figures are written as .png or .svg")
        with warnings.catch_warnings():
            # A caption in a script that the font lacks shows boxes; it must not fail the figure.
            warnings.filterwarnings("ignore", message=".*missing from font.*")
            figure.savefig(path, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _tidy(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(PALE)
    axes.grid(axis="y", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, length=0, labelsize=9)
    axes.margins(x=0.01)


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, frameon=False, fontsize=9,
                labelcolor=BLACK, handlelength=1.6)  # fmt: skip


def _mean(values: Sequence[float], width: int) -> list[float]:
    """Mean over the last `width` finite values: an even look at a loss that jumps from batch to batch."""
    means = []
    window: list[float] = []
    for value in values:
        window = [*window, value][-width:] if math.isfinite(value) else window
        means.append(sum(window) / len(window) if window else math.nan)
    return means


def _draw_losses(axes: Axes, steps: Sequence[StepRow], epochs: Sequence[EpochRow]) -> None:
    at = [row.step for row in steps]
    width = max(1, min(50, len(steps) // 10))
    drawn = [("train", BLUE, [row.unsmoothed for row in steps])]
    if any(row.loss != row.unsmoothed for row in steps):
        drawn.insert(0, ("train, labels smoothed", SKY, [row.loss for row in steps]))
    every: list[float] = []
    for name, colour, values in drawn:
        means = _mean(values, width)
        axes.plot(at, values, color=colour, linewidth=0.6, alpha=0.25)
        axes.plot(at, means, color=colour, linewidth=1.8, label=name)
        every += [value for value in means if math.isfinite(value)]
    held = [row for row in epochs if row.validation_loss is not None and math.isfinite(row.validation_loss)]
    if held:
        losses = [row.validation_loss or 0.0 for row in held]
        every += losses
        axes.plot([row.step for row in held], losses, color=VERMILION, linewidth=1.8, marker="o", markersize=4,
                  label="validation")  # fmt: skip
        best = min(held, key=lambda row: row.validation_loss or 0.0)
        axes.plot([best.step], [best.validation_loss or 0.0], linestyle="none", marker="o", markersize=10,
                  markerfacecolor="none", markeredgecolor=BLACK, label=f"best: epoch {best.epoch}")  # fmt: skip
    # Single batches may jump far above: what is judged is the means and the validation.
    if every:
        low, high = min(every), max(every)
        axes.set_ylim(max(0.0, low - 0.15 * (high - low) - 1e-3), high + 0.1 * (high - low) + 1e-3)
    axes.set_ylabel("loss", color=GREY)
    _legend(axes)


def _draw_learning_rate(axes: Axes, steps: Sequence[StepRow], epochs: Sequence[EpochRow]) -> None:
    axes.plot([row.step for row in steps], [row.learning_rate for row in steps], color=GREEN, linewidth=1.8)
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.yaxis.get_offset_text().set_color(GREY)
    axes.yaxis.get_offset_text().set_fontsize(9)
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
    axes.set_ylabel("validation captions", color=GREY)
    _legend(axes)


def _open(path: Path) -> Image.Image | str:
    """The photo, upright and no larger than it is drawn, or why there is none."""
    import pi_heif

    pi_heif.register_heif_opener()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                opened.draft("RGB", (1600, 1600))
                photo = ImageOps.exif_transpose(opened)
                photo.thumbnail((int(2 * TILE * PIXELS_AN_INCH), int(2 * PHOTO * PIXELS_AN_INCH)))
                if photo.has_transparency_data:
                    photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
                return photo.convert("RGB")
    except FileNotFoundError:
        return "no longer there"
    except PermissionError:
        return "may not be read"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return "too many pixels"
    except Exception:  # whatever a decoder may raise on a broken file
        return "cannot be opened"


def _draw_photo(figure: Figure, path: Path, box: tuple[float, float, float, float], height: float) -> None:
    left, bottom, wide, high = box
    width = figure.get_figwidth()
    photo = _open(path)
    axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
    axes.set_axis_off()
    if isinstance(photo, str):
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.fill_between([0, 1], 0, 1, color=PALE, linewidth=0)
        name = "\n".join(_wrap(figure, path.name, wide - 0.4, 2))
        axes.text(0.5, 0.5, f"{name}\n{photo}", ha="center", va="center", fontsize=FONT, color=GREY, parse_math=False)
    else:
        axes.imshow(photo, interpolation="lanczos", aspect="equal", anchor="SW")


def _draw_captions(
    figure: Figure, captions: Sequence[tuple[str, Sequence[str]]], left: float, top: float, height: float
) -> None:
    width = figure.get_figwidth()
    style: dict[str, Any] = {"va": "top", "fontsize": FONT, "parse_math": False}
    for voice, (who, lines) in enumerate(captions):
        colour = VOICES[voice % len(VOICES)] if who else BLACK
        if who:
            figure.text(left / width, top / height, who, color=colour, fontweight="bold", **style)
        indent = _indent(figure, captions) if who else 0.0
        for line in lines:
            figure.text((left + indent) / width, top / height, line, color=BLACK, **style)
            top -= LINE


def _inches(figure: Figure, text: str, weight: str = "normal") -> float:
    from matplotlib.font_manager import FontProperties

    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    font = FontProperties(size=FONT, weight=weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*missing from font.*")
        wide, _, _ = renderer.get_text_width_height_descent(text, font, False)
    return float(wide) / figure.dpi


def _indent(figure: Figure, captions: Iterable[tuple[str, object]]) -> float:
    """Where captions start, right of the widest name, in inches."""
    return max((_inches(figure, who, "bold") for who, _ in captions if who), default=-0.1) + 0.1


def _wrapped(figure: Figure, tile: Tile) -> list[tuple[str, list[str]]]:
    indent = _indent(figure, tile.captions)
    return [(who, _wrap(figure, caption, TILE - (indent if who else 0.0), LINES)) for who, caption in tile.captions]


def _wrap(figure: Figure, text: str, inches: float, most: int) -> list[str]:
    """The text in lines of at most that width; what does not fit into `most` of them ends in "…"."""
    lines = [""]
    for word in text.split() or ["(no words)"]:
        longer = f"{lines[-1]} {word}".strip()
        if _inches(figure, longer) <= inches:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for sign in word:
            if _inches(figure, lines[-1] + sign) > inches:
                lines.append("")
            lines[-1] += sign
    if len(lines) > most:
        lines = lines[:most]
        while _inches(figure, lines[-1] + "…") > inches:
            lines[-1] = lines[-1][:-1]
        lines[-1] += "…"
    return lines
