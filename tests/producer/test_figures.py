from __future__ import annotations

import math
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
from PIL import Image

from blipq.producer.errors import UserError
from blipq.producer.figures import EpochRow, StepRow, plot_run
from blipq.producer.photo_grid import Tile, show_grid

pytest.importorskip("matplotlib", reason="pip install 'blipq[plot]'")

STEPS = [StepRow(step, 2 + 10 / step, 1 + 10 / step, 1e-4 / step) for step in range(1, 61)]
EPOCHS = [EpochRow(1, 30, 1.5, {"bleu_4": 0.2, "cider_d": 0.9}), EpochRow(2, 60, 1.2, {"bleu_4": 0.3, "cider_d": 1.1})]
SVG = "{http://www.w3.org/2000/svg}"


def colours(path: Path, box: tuple[float, float, float, float]) -> set[tuple[int, int, int]]:
    """The colours in a part of a picture, given in shares of its sides."""
    with Image.open(path) as picture:
        wide, high = picture.size
        left, top, right, bottom = box
        part = picture.convert("RGB").crop((int(left * wide), int(top * high), int(right * wide), int(bottom * high)))
    return {colour for _, colour in part.getcolors(maxcolors=1 << 24) or ()}


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def photo(path: Path, colour: str) -> Path:
    Image.new("RGB", (400, 300), colour).save(path)
    return path


def test_a_run_is_drawn_as_png_and_svg(tmp_path):
    png, svg = tmp_path / "run.png", tmp_path / "run.svg"

    plot_run("Run 3", STEPS, EPOCHS, [png, svg])

    assert size(png)[0] == 1200
    assert xml.etree.ElementTree.parse(svg).getroot().tag == f"{SVG}svg"
    # Then the validation curve's orange-red is in the loss panel
    assert (0xD5, 0x5E, 0x00) in colours(png, (0, 0, 1, 0.5))


def test_a_run_without_epochs_has_no_panel_of_metrics(tmp_path):
    plot_run("short", STEPS, [], [tmp_path / "short.png"])
    plot_run("long", STEPS, EPOCHS, [tmp_path / "long.png"])

    assert size(tmp_path / "short.png")[1] < size(tmp_path / "long.png")[1]


def test_a_run_of_one_step_and_a_loss_that_is_not_finite_are_drawn(tmp_path):
    plot_run("one", STEPS[:1], [], [tmp_path / "one.png"])
    broken = [*STEPS[:30], StepRow(31, math.nan, math.inf, 1e-4), *STEPS[31:]]
    plot_run("nan", broken, [EpochRow(1, 30, math.nan, {}), EpochRow(2, 60, None, {})], [tmp_path / "nan.png"])

    assert (0x00, 0x72, 0xB2) in colours(tmp_path / "one.png", (0, 0, 1, 1))
    assert (0x00, 0x72, 0xB2) in colours(tmp_path / "nan.png", (0.5, 0, 0.8, 0.6))


def test_a_run_without_steps_is_one_line():
    with pytest.raises(UserError, match="no steps yet"):
        plot_run("empty", [], [], [])


def test_another_suffix_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"run\.gif: figures are written as \.png or \.svg"):
        plot_run("run", STEPS, [], [tmp_path / "run.gif"])


def test_a_grid_shows_each_photo_in_its_place(tmp_path):
    tiles = [
        Tile(photo(tmp_path / f"{colour}.png", colour), [("base", "a dog"), ("tuned", "a goalkeeper")])
        for colour in ("red", "lime", "blue")
    ]

    show_grid("", tiles, 2, [tmp_path / "grid.png"])

    found = tmp_path / "grid.png"
    assert (255, 0, 0) in colours(found, (0, 0, 0.5, 0.5))
    assert (0, 255, 0) in colours(found, (0.5, 0, 1, 0.5))
    assert (0, 0, 255) in colours(found, (0, 0.5, 0.5, 1))
    assert not {(255, 0, 0), (0, 255, 0), (0, 0, 255)} & colours(found, (0.5, 0.5, 1, 1))


def test_long_captions_make_the_row_taller_and_stay_in_their_tile(tmp_path):
    picture = photo(tmp_path / "photo.png", "red")
    long = "a man in a very long red coat " * 40

    show_grid("", [Tile(picture, [("", "a man")])] * 2, 2, [tmp_path / "short.png"])
    show_grid("", [Tile(picture, [("", long)]), Tile(picture, [("", "")])], 2, [tmp_path / "long.png"])

    short, tall = (size(tmp_path / name)[1] for name in ("short.png", "long.png"))
    # Then it has five lines of 0.19 inches instead of one, and nothing is written between the tiles or at the edge
    assert tall - short == pytest.approx(4 * 0.19 * 150, abs=2)
    assert colours(tmp_path / "long.png", (3.21 / 6.6, 0, 3.39 / 6.6, 1)) == {(255, 255, 255)}
    assert colours(tmp_path / "long.png", (0.99, 0, 1, 1)) == {(255, 255, 255)}


@pytest.mark.parametrize(
    "caption", ["costs $5 or $6", "<b> & -- \"x\" 'y' \\alpha", "日本 😀 кошка", "x" * 5000, "\x07\n\n"]
)
def test_any_caption_can_be_written(tmp_path, caption):
    picture = photo(tmp_path / "photo.png", "red")

    show_grid(caption, [Tile(picture, [("base", caption)])], 1, [tmp_path / "grid.png", tmp_path / "grid.svg"])

    assert xml.etree.ElementTree.parse(tmp_path / "grid.svg").getroot().tag == f"{SVG}svg"


def test_a_photo_is_turned_as_its_exif_says(tmp_path):
    # Given a landscape file, red at its left, that is to be turned upright: red comes on top
    landscape = Image.new("RGB", (400, 300), "blue")
    landscape.paste("red", (0, 0, 200, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    landscape.save(tmp_path / "photo.png", exif=exif)

    show_grid("", [Tile(tmp_path / "photo.png", [("", "x")])], 1, [tmp_path / "grid.png"])

    assert (255, 0, 0) in colours(tmp_path / "grid.png", (0, 0, 1, 0.4))
    assert (0, 0, 255) not in colours(tmp_path / "grid.png", (0, 0, 1, 0.4))


def test_a_photo_that_cannot_be_shown_is_a_grey_tile(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    tiles = [Tile(tmp_path / "gone.jpg", [("", "a dog")]), Tile(broken, [("", "a cat")])]

    show_grid("", tiles, 2, [tmp_path / "grid.png"])

    assert (0xE6, 0xE6, 0xE6) in colours(tmp_path / "grid.png", (0, 0, 0.5, 0.5))
    assert (0xE6, 0xE6, 0xE6) in colours(tmp_path / "grid.png", (0.5, 0, 1, 0.5))


def test_transparent_photos_lie_on_white(tmp_path):
    Image.new("RGBA", (400, 300), (0, 0, 0, 0)).save(tmp_path / "clear.png")

    show_grid("", [Tile(tmp_path / "clear.png", [("", "nothing")])], 1, [tmp_path / "grid.png"])

    assert colours(tmp_path / "grid.png", (0.1, 0.1, 0.9, 0.6)) == {(255, 255, 255)}


def test_no_photos_is_one_line():
    with pytest.raises(UserError, match="no photos"):
        show_grid("", [], 3, [])


def test_a_missing_matplotlib_is_one_line_and_importing_needs_none():
    program = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from blipq.producer.figures import StepRow, plot_run\n"
        "from blipq.producer.errors import one_line\n"
        "try: plot_run('x', [StepRow(1, 1.0, 1.0, 1.0)], [], [])\n"
        "except Exception as error: print(one_line(error))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "pip install 'blipq[plot]' first: figures need matplotlib\n"


def test_figures_leave_pyplot_and_torch_alone(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from blipq.producer.figures import StepRow, plot_run\n"
        "import blipq.producer.photo_grid\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"plot_run('x', [StepRow(1, 1.0, 1.0, 1.0)], [], [Path({str(tmp_path)!r}) / 'x.png'])\n"
        "print({'matplotlib.pyplot', 'torch', 'transformers', 'blipq.worker.engine'} & sys.modules.keys())\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"
