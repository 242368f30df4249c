"""Domain one, `scenes`: coloured things, small and large, in six places."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from blipq.demo.pen import PALETTE, SCALE, SIDE, Colour, Pen, Point, ground, mix, shade

HALF = {"small": (19.0, 23.0), "large": (36.0, 42.0)}  # SIDE-pixels from a thing's centre to its edge
RELATIONS = ("to the left of", "to the right of", "above", "below")
COUNTS = {2: "two", 3: "three", 4: "four"}
WHITE: Colour = (250, 250, 250)
BLACK: Colour = (20, 20, 24)


def balloon(pen: Pen, paint: Colour, edge: Colour) -> None:
    pen.line([(0, 0.5), (0.1, 0.75), (-0.05, 1.0)], edge, 0.06)
    pen.polygon([(-0.12, 0.66), (0.12, 0.66), (0, 0.5)], paint, edge)
    pen.ellipse((0, -0.2), (0.68, 0.78), paint, edge)
    pen.ellipse((-0.26, -0.5), (0.12, 0.18), mix(paint, WHITE, 0.6))


def boat(pen: Pen, paint: Colour, edge: Colour) -> None:
    pen.line([(0, -0.95), (0, 0.4)], edge, 0.09)
    pen.polygon([(0.06, -0.9), (0.06, 0.25), (0.8, 0.25)], mix(paint, WHITE, 0.25), edge)
    pen.polygon([(-0.08, -0.6), (-0.08, 0.25), (-0.65, 0.25)], mix(paint, WHITE, 0.25), edge)
    pen.polygon([(-1, 0.38), (1, 0.38), (0.62, 0.9), (-0.62, 0.9)], paint, edge)


def car(pen: Pen, paint: Colour, edge: Colour) -> None:
    pen.polygon([(-0.55, 0), (-0.35, -0.5), (0.35, -0.5), (0.62, 0)], paint, edge)
    pen.polygon([(-0.38, -0.03), (-0.26, -0.37), (-0.04, -0.37), (-0.04, -0.03)], (190, 225, 240))
    pen.polygon([(0.06, -0.03), (0.06, -0.37), (0.28, -0.37), (0.44, -0.03)], (190, 225, 240))
    pen.polygon([(-1, 0), (0.85, 0), (1, 0.15), (1, 0.5), (-1, 0.5)], paint, edge)
    for x in (-0.55, 0.55):
        pen.ellipse((x, 0.5), (0.26, 0.26), BLACK)
        pen.ellipse((x, 0.5), (0.12, 0.12), (180, 180, 185))


def fish(pen: Pen, paint: Colour, edge: Colour) -> None:
    pen.polygon([(0.45, 0), (1, -0.5), (0.86, 0), (1, 0.5)], mix(paint, BLACK, 0.15), edge)
    pen.polygon([(-0.15, -0.4), (0.15, -0.75), (0.35, -0.3)], mix(paint, BLACK, 0.15), edge)
    pen.ellipse((-0.2, 0), (0.8, 0.48), paint, edge)
    pen.line([(-0.42, -0.33), (-0.34, 0), (-0.42, 0.33)], mix(paint, BLACK, 0.3), 0.06)
    pen.ellipse((-0.66, -0.12), (0.12, 0.12), WHITE)
    pen.ellipse((-0.68, -0.12), (0.06, 0.06), BLACK)


def heart(pen: Pen, paint: Colour, edge: Colour) -> None:
    turns = [math.tau * k / 32 for k in range(32)]
    curve = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in turns]
    pen.polygon([(0.94 * math.sin(t) ** 3, -y / 16) for t, y in zip(turns, curve, strict=True)], paint, edge)
    pen.ellipse((-0.45, -0.35), (0.13, 0.16), mix(paint, WHITE, 0.6))


def house(pen: Pen, paint: Colour, edge: Colour) -> None:
    pen.polygon([(-0.72, -0.1), (0.72, -0.1), (0.72, 0.9), (-0.72, 0.9)], paint, edge)
    pen.polygon([(-0.95, -0.08), (0, -0.95), (0.95, -0.08)], mix(paint, BLACK, 0.35), edge)
    pen.polygon([(-0.15, 0.9), (-0.15, 0.35), (0.15, 0.35), (0.15, 0.9)], mix(paint, BLACK, 0.6))
    for x in (-0.45, 0.45):
        pen.polygon([(x - 0.14, 0.08), (x + 0.14, 0.08), (x + 0.14, 0.36), (x - 0.14, 0.36)], (255, 240, 170), edge)


def mushroom(pen: Pen, paint: Colour, edge: Colour) -> None:
    pen.polygon([(-0.2, 0), (0.2, 0), (0.3, 0.9), (-0.3, 0.9)], (238, 226, 205), edge)
    cap: list[Point] = [(0.92 * math.cos(math.pi * k / 16), 0.12 - 1.0 * math.sin(math.pi * k / 16)) for k in range(17)]
    pen.polygon(cap, paint, edge)
    dots = WHITE if sum(paint) < 640 else (200, 190, 180)
    for x, y, r in ((-0.45, -0.2, 0.13), (0.05, -0.55, 0.14), (0.48, -0.15, 0.12)):
        pen.ellipse((x, y), (r, r), dots)


def star(pen: Pen, paint: Colour, edge: Colour) -> None:
    arms = [(1.0 if k % 2 == 0 else 0.45, math.pi * k / 5) for k in range(10)]
    pen.polygon([(r * math.sin(t), -r * math.cos(t)) for r, t in arms], paint, edge)
    pen.polygon([(0.6 * r * math.sin(t), -0.6 * r * math.cos(t)) for r, t in arms], mix(paint, WHITE, 0.2))


THINGS: dict[str, Callable[[Pen, Colour, Colour], None]] = {
    "balloon": balloon,
    "boat": boat,
    "car": car,
    "fish": fish,
    "heart": heart,
    "house": house,
    "mushroom": mushroom,
    "star": star,
}
PLURALS = {name: "fish" if name == "fish" else f"{name}s" for name in THINGS}
# A place, and the paint that would not be seen there.
PLACES = {
    "on the grass": "green",
    "on the sand": "yellow",
    "in the snow": "white",
    "on the water": "blue",
    "on a table": "orange",
    "at night": "black",
}


@dataclass(frozen=True)
class Thing:
    """A drawn thing and its centre in SIDE-pixels."""

    size: str
    colour: str
    name: str
    x: float
    y: float

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.name}"


@dataclass(frozen=True)
class Plan:
    """What a picture of the domain will show; `things` in the order in which the caption names them."""

    place: str
    things: tuple[Thing, ...]
    caption: str

    def paint(self, rng: Random, noise: np.random.Generator) -> Image.Image:
        """Draw the plan on a large canvas."""
        canvas = _BACKGROUNDS[self.place](rng, noise)
        draw = ImageDraw.Draw(canvas, "RGBA")
        for thing in self.things:
            half = rng.uniform(*HALF[thing.size])
            low = SCALE * (thing.y + half * 0.92)
            wide, flat = SCALE * half * 0.8, SCALE * half * 0.16
            middle = SCALE * thing.x
            draw.ellipse((middle - wide, low - flat, middle + wide, low + flat), fill=(0, 0, 20, 60))
            colour = shade(rng, thing.colour)
            edge = mix(colour, BLACK, 0.55) if sum(colour) > 150 else (105, 105, 115)
            pen = Pen(draw, thing.x, thing.y, half, rng.uniform(-0.14, 0.14))
            THINGS[thing.name](pen, colour, edge)
        return canvas


def plan(rng: Random) -> Plan:
    """Choose a scene: one thing (1 in 8), two to four of a kind (1 in 8), or two things and how they stand."""
    place = rng.choice(list(PLACES))
    kind = rng.random()
    if kind < 0.125:
        thing = _thing(rng, place, rng.uniform(60, 132), rng.uniform(60, 132))
        return Plan(place, (thing,), f"{_article(thing.size)} {thing} {place}")
    if kind < 0.25:
        return _group(rng, place)
    return _pair(rng, place)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _thing(rng: Random, place: str, x: float, y: float) -> Thing:
    colour = rng.choice([name for name in PALETTE if name != PLACES[place]])
    return Thing(rng.choice(("small", "large")), colour, rng.choice(list(THINGS)), x, y)


def _group(rng: Random, place: str) -> Plan:
    count = rng.choice(list(COUNTS))
    first = _thing(rng, place, 0, 0)
    corners = [(x, y) for x in (50, 142) for y in (50, 142)]
    rng.shuffle(corners)
    things = tuple(
        Thing("small", first.colour, first.name, x + rng.uniform(-14, 14), y + rng.uniform(-14, 14))
        for x, y in corners[:count]
    )
    return Plan(place, things, f"{COUNTS[count]} small {first.colour} {PLURALS[first.name]} {place}")


def _pair(rng: Random, place: str) -> Plan:
    """Two things; the smaller is named first and, of two equals, the left or the upper one."""
    across = rng.random() < 0.5
    near, far, drift = rng.uniform(46, 54), rng.uniform(138, 146), rng.uniform(78, 114)
    swing = rng.uniform(-16, 16)  # off the axis, yet far less than along it: left stays left
    ends = [(near, drift - swing), (far, drift + swing)]
    first, second = (_thing(rng, place, *(end if across else end[::-1])) for end in ends)
    relation = "to the left of" if across else "above"
    if first.size == "large" and second.size == "small":
        first, second = second, first
        relation = "to the right of" if across else "below"
    caption = f"{_article(first.size)} {first} {relation} {_article(second.size)} {second} {place}"
    return Plan(place, (first, second), caption)


def _specks(draw: ImageDraw.ImageDraw, rng: Random, count: int, colour: Colour, radius: tuple[float, float]) -> None:
    for _ in range(count):
        x, y, r = rng.uniform(0, SIDE * SCALE), rng.uniform(0, SIDE * SCALE), rng.uniform(*radius)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _grass(rng: Random, noise: np.random.Generator) -> Image.Image:
    canvas = ground(noise, (140, 195, 95), (95, 165, 70), 14)
    draw = ImageDraw.Draw(canvas)
    for _ in range(110):
        x, y, lean = rng.uniform(0, SIDE * SCALE), rng.uniform(0, SIDE * SCALE), rng.uniform(-5, 5)
        draw.line((x, y, x + lean, y - rng.uniform(8, 16)), fill=rng.choice([(85, 150, 60), (165, 210, 115)]), width=2)
    return canvas


def _sand(rng: Random, noise: np.random.Generator) -> Image.Image:
    canvas = ground(noise, (240, 222, 180), (222, 196, 148), 10)
    draw = ImageDraw.Draw(canvas)
    _specks(draw, rng, 90, (190, 160, 115), (1, 2.2))
    _specks(draw, rng, 40, (250, 238, 210), (1, 2.2))
    return canvas


def _snow(rng: Random, noise: np.random.Generator) -> Image.Image:
    canvas = ground(noise, (205, 220, 238), (232, 240, 250), 9)
    _specks(ImageDraw.Draw(canvas), rng, 60, (252, 253, 255), (2, 5))
    return canvas


def _water(rng: Random, noise: np.random.Generator) -> Image.Image:
    canvas = ground(noise, (125, 200, 225), (70, 150, 200), 10)
    draw = ImageDraw.Draw(canvas)
    for _ in range(26):
        x, y, w = rng.uniform(-20, SIDE * SCALE), rng.uniform(0, SIDE * SCALE), rng.uniform(20, 50)
        draw.arc((x, y, x + w, y + 12), 200, 340, fill=(195, 232, 242), width=3)
    return canvas


def _table(rng: Random, noise: np.random.Generator) -> Image.Image:
    canvas = ground(noise, (176, 124, 80), (158, 106, 66), 10)
    draw = ImageDraw.Draw(canvas)
    top = rng.uniform(-60, 0)
    while top < SIDE * SCALE:
        draw.line((0, top, SIDE * SCALE, top), fill=(112, 72, 42), width=4)
        for _ in range(3):
            x, y = rng.uniform(0, SIDE * SCALE), top + rng.uniform(10, 60)
            draw.line((x, y, x + rng.uniform(30, 110), y), fill=(142, 94, 58), width=2)
        top += 72
    return canvas


def _night(rng: Random, noise: np.random.Generator) -> Image.Image:
    canvas = ground(noise, (14, 18, 52), (44, 42, 92), 6)
    _specks(ImageDraw.Draw(canvas), rng, 40, (235, 235, 205), (0.8, 2.2))
    return canvas


_BACKGROUNDS: dict[str, Callable[[Random, np.random.Generator], Image.Image]] = {
    "on the grass": _grass,
    "on the sand": _sand,
    "in the snow": _snow,
    "on the water": _water,
    "on a table": _table,
    "at night": _night,
}
