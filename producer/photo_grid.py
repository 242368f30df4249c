"""Photos with their captions as one figure: a grid, base beside tuned."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from blipq.producer.errors import UserError
from blipq.producer.figures import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PALE,
    PIXELS_AN_INCH,
    TITLE,
    VERMILION,
    canvas,
    printable,
    save,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Sizes of a tile, in inches.
TILE, PHOTO, GAP, LINE = 3.0, 2.25, 0.2, 0.19
FONT = 9.5
LINES = 5
# Who said it: the first is the base, the second the tuned one.
VOICES = (GREY, BLUE, VERMILION, GREEN)


@dataclass(frozen=True)
class Tile:
    """A photo and what was said of it: (who, caption) in the order to show; an empty `who` is not written."""

    picture: Path
    captions: Sequence[tuple[str, str]]


def show_grid(title: str, tiles: Sequence[Tile], columns: int, paths: Iterable[Path]) -> None:
    """Draw photos with their captions beneath, so many a row, into each of the paths.

    Photos are turned as their EXIF says; one that cannot be opened is a grey tile with the reason. A caption takes up
    to five lines. Raises UserError: no tiles, no matplotlib, or a suffix that is neither .png nor .svg.
    """
    if not tiles or columns < 1:
        raise UserError("there are no photos to show")
    columns = min(columns, len(tiles))
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    figure = canvas(columns * (TILE + GAP) + GAP)
    written = [[_wrapped(figure, tile) for tile in row] for row in rows]
    below = [max(sum(len(lines) for _, lines in tile) for tile in row) * LINE for row in written]
    head = 0.55 if title else GAP
    height = head + sum(PHOTO + 0.08 + text + GAP for text in below)
    figure.set_figheight(height)
    if title:
        figure.text(
            GAP / figure.get_figwidth(), 1 - 0.3 / height, printable(title), va="center", parse_math=False, **TITLE
        )
    top = height - head
    for row, texts, text_height in zip(rows, written, below, strict=True):
        for at, (tile, captions) in enumerate(zip(row, texts, strict=True)):
            left = GAP + at * (TILE + GAP)
            _draw_photo(figure, tile.picture, (left, top - PHOTO, TILE, PHOTO), height)
            _draw_captions(figure, captions, left, top - PHOTO - 0.08, height)
        top -= PHOTO + 0.08 + text_height + GAP
    save(figure, paths)


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
        axes.imshow(photo, interpolation="lanczos")
        axes.set_anchor("SW")


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
    return [
        (printable(who), _wrap(figure, caption, TILE - (indent if who else 0.0), LINES))
        for who, caption in tile.captions
    ]


def _wrap(figure: Figure, text: str, inches: float, most: int) -> list[str]:
    """The text in lines of at most that width; what does not fit into `most` of them ends in "…"."""
    lines = [""]
    for word in printable(text).split() or ["(no words)"]:
        if len(lines) > most:
            break
        longer = f"{lines[-1]} {word}".strip()
        if _inches(figure, longer) <= inches:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for sign in word[:500]:
            if _inches(figure, lines[-1] + sign) > inches:
                lines.append("")
            lines[-1] += sign
    if len(lines) > most:
        lines = lines[:most]
        while _inches(figure, lines[-1] + "…") > inches:
            lines[-1] = lines[-1][:-1]
        lines[-1] += "…"
    return lines
