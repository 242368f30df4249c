"""The pen that every drawn thing is drawn with: unit coordinates in, antialiased pixels out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

SIDE = 192  # pixels of a finished picture; drawn at SCALE times that and reduced, which is the antialiasing
SCALE = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]

PALETTE: dict[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (245, 130, 25),
    "yellow": (250, 215, 50),
    "green": (40, 150, 70),
    "blue": (40, 90, 215),
    "purple": (135, 60, 175),
    "white": (245, 245, 242),
    "black": (35, 35, 40),
}


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that lies `share` (0 to 1) of the way from the first to the second."""
    r, g, b = (round(x + (y - x) * share) for x, y in zip(first, second, strict=True))
    return r, g, b


def shade(rng: Random, name: str) -> Colour:
    """A colour of the palette, a little off, as no two paints are the same."""
    r, g, b = (min(255, max(0, x + rng.randint(-12, 12))) for x in PALETTE[name])
    return r, g, b


@dataclass(frozen=True)
class Pen:
    """Draws in a box of 2 × 2 units around (x, y), `half` SIDE-pixels to a unit, turned by `tilt` radians."""

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    half: float
    tilt: float = 0.0

    def place(self, points: Sequence[Point]) -> list[Point]:
        """Pixels of the large canvas for points in units."""
        cos, sin = math.cos(self.tilt) * self.half, math.sin(self.tilt) * self.half
        return [(SCALE * (self.x + x * cos - y * sin), SCALE * (self.y + x * sin + y * cos)) for x, y in points]

    def polygon(self, points: Sequence[Point], fill: Colour, edge: Colour | None = None) -> None:
        """A filled polygon, with an edge 1.5 SIDE-pixels wide when it has a colour."""
        self.draw.polygon(self.place(points), fill=fill, outline=edge, width=3 if edge else 1)

    def ellipse(self, centre: Point, radii: Point, fill: Colour, edge: Colour | None = None) -> None:
        """A filled ellipse; 28 corners look round at this size."""
        turns = [math.tau * k / 28 for k in range(28)]
        points = [(centre[0] + radii[0] * math.cos(t), centre[1] + radii[1] * math.sin(t)) for t in turns]
        self.polygon(points, fill, edge)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line of round joints, `width` units thick."""
        pixels = max(1, round(width * self.half * SCALE))
        self.draw.line(self.place(points), fill=fill, width=pixels, joint="curve")

    def limb(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line with round ends too, as arms and legs have."""
        self.line(points, fill, width)
        for end in (points[0], points[-1]):
            self.ellipse(end, (width / 2, width / 2), fill)


def ground(noise: np.random.Generator, top: Colour, bottom: Colour, grain: float) -> Image.Image:
    """A large canvas with a gradient, soft blotches and `grain` levels of their strength."""
    steps = np.linspace(0.0, 1.0, SIDE, dtype=np.float32)[:, None, None]
    colours = np.asarray(top, np.float32) * (1 - steps) + np.asarray(bottom, np.float32) * steps
    blotches = Image.fromarray(noise.integers(0, 256, (12, 12), np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    soft = (np.asarray(blotches, np.float32)[:, :, None] - 127.5) * (grain / 127.5)
    pixels = np.clip(colours + soft, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((SIDE * SCALE, SIDE * SCALE), Image.Resampling.BILINEAR)


def finish(canvas: Image.Image, noise: np.random.Generator) -> Image.Image:
    """Reduce the large canvas to SIDE × SIDE pixels, as a camera would: uneven light and a sensor's grain."""
    pixels = np.asarray(canvas.reduce(SCALE), np.float32)
    left, right, level = noise.uniform(0.92, 1.08, 3)
    light = np.linspace(left * level, right * level, SIDE, dtype=np.float32)[None, :, None]
    grain = noise.integers(-7, 8, (SIDE, SIDE, 1), np.int8).astype(np.float32)
    return Image.fromarray(np.clip(pixels * light + grain, 0, 255).astype(np.uint8))
