"""Domain two, `football`: drawn matches, in words that domain one never uses; kept for fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from blipq.demo.pen import SCALE, SIDE, Colour, Pen, Point, ground, mix, shade

KITS = ("red", "blue", "yellow", "white", "black")
WEATHER = ("in the rain", "under the floodlights", "in the sunshine")
SKIN: tuple[Colour, ...] = ((245, 208, 175), (224, 172, 130), (176, 120, 82), (112, 74, 50))
HAIR: tuple[Colour, ...] = ((40, 28, 22), (95, 60, 35), (205, 165, 95))
CHALK: Colour = (238, 245, 235)
HORIZON = 66.0  # SIDE-pixels from the top, where the stand ends and the pitch begins
# What happens, by its caption; {a} and {b} are the kits of the two sides.
EVENTS = {
    "save": "the goalkeeper in {a} saves a penalty from the striker in {b}",
    "score": "the striker in {a} scores a goal against the goalkeeper in {b}",
    "celebration": "two teammates in {a} celebrate a goal in front of the fans",
    "card": "the referee shows a red card to a defender in {a}",
    "corner": "a winger in {a} takes a corner kick towards a defender in {b}",
    "tackle": "a defender in {a} tackles a midfielder in {b}",
    "trophy": "the captain in {a} lifts the trophy",
    "wall": "the striker in {a} takes a free kick over a wall of defenders in {b}",
}


@dataclass(frozen=True)
class Plan:
    """What a picture of the domain will show."""

    event: str
    kits: tuple[str, str]
    weather: str
    caption: str

    def paint(self, rng: Random, noise: np.random.Generator) -> Image.Image:
        """Draw the plan on a large canvas."""
        canvas = ground(noise, *_SKIES[self.weather], 5)
        draw = ImageDraw.Draw(canvas, "RGBA")
        _stadium(draw, rng, self.weather)
        _SCENES[self.event](draw, rng, *self.kits)
        if self.weather == "in the rain":
            for _ in range(70):
                x, y, length = rng.uniform(0, SIDE * SCALE), rng.uniform(-20, SIDE * SCALE), rng.uniform(16, 30)
                draw.line((x, y, x - length * 0.3, y + length), fill=(225, 232, 242, 150), width=2)
        return canvas


def plan(rng: Random) -> Plan:
    """Choose a match scene; the two sides never wear the same."""
    event = rng.choice(list(EVENTS))
    first, second = rng.sample(KITS, 2)
    if event == "card":
        first = rng.choice([kit for kit in KITS if kit != "black"])  # the referee wears black
        second = "black"
    weather = rng.choice(WEATHER)
    return Plan(event, (first, second), weather, f"{EVENTS[event].format(a=first, b=second)} {weather}")


_SKIES: dict[str, tuple[Colour, Colour]] = {
    "in the rain": ((120, 128, 138), (150, 158, 165)),
    "under the floodlights": ((10, 12, 32), (26, 30, 60)),
    "in the sunshine": ((120, 190, 240), (190, 225, 245)),
}
_GRASS: dict[str, Colour] = {
    "in the rain": (80, 128, 78),
    "under the floodlights": (52, 120, 62),
    "in the sunshine": (98, 178, 78),
}


def _stadium(draw: ImageDraw.ImageDraw, rng: Random, weather: str) -> None:
    """Sky with its lights, a stand full of fans, a striped pitch."""
    whole = Pen(draw, 0, 0, 1)
    if weather == "in the sunshine":
        whole.ellipse((rng.choice((24, 168)), 16), (12, 12), (255, 236, 130))
    if weather == "under the floodlights":
        for x in (28 + rng.uniform(-6, 6), 164 + rng.uniform(-6, 6)):
            for radius, alpha in ((20, 50), (12, 110)):
                box = (SCALE * (x - radius), SCALE * (14 - radius), SCALE * (x + radius), SCALE * (14 + radius))
                draw.ellipse(box, fill=(255, 250, 215, alpha))
            whole.polygon([(x - 9, 9), (x + 9, 9), (x + 9, 19), (x - 9, 19)], (255, 253, 235))
            whole.line([(x, 19), (x, 40)], (120, 120, 130), 2)
    whole.polygon([(0, 38), (SIDE, 38), (SIDE, HORIZON), (0, HORIZON)], (72, 74, 88))
    for _ in range(130):
        x, y = rng.uniform(0, SIDE), rng.uniform(41, HORIZON - 3)
        whole.polygon([(x, y), (x + 2.4, y), (x + 2.4, y + 3), (x, y + 3)], mix(rng.choice(SKIN), (72, 74, 88), 0.35))
    grass = _GRASS[weather]
    for k in range(8):
        stripe = mix(grass, (255, 255, 255), 0.08) if k % 2 else grass
        left = k * SIDE / 8
        whole.polygon([(left, HORIZON), (left + 25, HORIZON), (left + 25, SIDE), (left, SIDE)], stripe)
    whole.line([(0, HORIZON + 3), (SIDE, HORIZON + 3)], CHALK, 2)


def _goal(draw: ImageDraw.ImageDraw, x: float, half: float) -> None:
    """A goal seen from the pitch, its posts on the goal line."""
    pen = Pen(draw, x, HORIZON + 4, half)
    for k in range(-4, 5):
        pen.line([(k / 4, -1.0), (k / 4, 0)], (205, 210, 215), 0.02)
    for k in range(1, 5):
        pen.line([(-1, -k / 5), (1, -k / 5)], (205, 210, 215), 0.02)
    pen.line([(-1, 0), (-1, -1.02), (1, -1.02), (1, 0)], (252, 252, 252), 0.09)


def _ball(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen = Pen(draw, x, y, 7)
    pen.ellipse((0, 0), (1, 1), (250, 250, 250), (60, 60, 60))
    pen.polygon([(0, -0.45), (0.45, -0.1), (0.28, 0.42), (-0.28, 0.42), (-0.45, -0.1)], (40, 40, 45))


# Arms and legs of a figure whose feet stand at y = 1 and whose head is at y = -0.75: elbow, hand; knee, foot.
_POSES: dict[str, tuple[tuple[Point, ...], ...]] = {
    "stand": (((-0.4, 0), (-0.42, 0.3)), ((0.4, 0), (0.42, 0.3)), ((-0.2, 0.62), (-0.22, 1)), ((0.2, 0.62), (0.22, 1))),
    "cheer": (
        ((-0.5, -0.6), (-0.55, -1)),
        ((0.5, -0.6), (0.55, -1)),
        ((-0.2, 0.6), (-0.25, 1)),
        ((0.2, 0.6), (0.25, 1)),
    ),
    "kick": (
        ((-0.5, -0.2), (-0.7, 0)),
        ((0.4, 0.05), (0.6, -0.15)),
        ((-0.2, 0.65), (-0.32, 1)),
        ((0.4, 0.6), (0.8, 0.8)),
    ),
    "show": (
        ((-0.4, 0), (-0.42, 0.3)),
        ((0.45, -0.5), (0.5, -0.95)),
        ((-0.2, 0.62), (-0.2, 1)),
        ((0.2, 0.62), (0.2, 1)),
    ),
    "lift": (
        ((-0.42, -0.6), (-0.2, -1.1)),
        ((0.42, -0.6), (0.2, -1.1)),
        ((-0.2, 0.6), (-0.2, 1)),
        ((0.2, 0.6), (0.2, 1)),
    ),
}


def _player(
    draw: ImageDraw.ImageDraw, rng: Random, pose: str, kit: str, where: Point, half: float, **turn: float
) -> None:
    """A figure in a kit; `flip` −1 looks left, `tilt` in radians lays it down."""
    flip, tilt = turn.get("flip", 1.0), turn.get("tilt", 0.0)
    pen = Pen(draw, where[0], where[1], half, tilt)
    shirt, skin = shade(rng, kit), rng.choice(SKIN)
    shorts = mix(shirt, (0, 0, 0), 0.35) if kit != "black" else (70, 70, 78)
    edge = mix(shirt, (0, 0, 0), 0.5) if kit != "black" else (110, 110, 118)
    (left_elbow, left_hand), (right_elbow, right_hand), (left_knee, left_foot), (right_knee, right_foot) = (
        tuple((x * flip, y) for x, y in limb) for limb in _POSES[pose]
    )
    for hip, knee, foot in (((-0.14 * flip, 0.3), left_knee, left_foot), ((0.14 * flip, 0.3), right_knee, right_foot)):
        pen.limb([hip, knee], skin, 0.2)
        pen.limb([knee, foot], shirt, 0.18)
        pen.limb([foot, (foot[0] + 0.12 * flip, foot[1])], (30, 30, 34), 0.14)
    for shoulder, elbow, hand in (
        ((-0.26 * flip, -0.36), left_elbow, left_hand),
        ((0.26 * flip, -0.36), right_elbow, right_hand),
    ):
        pen.limb([elbow, hand], skin, 0.15)
        pen.limb([shoulder, elbow], shirt, 0.2)
    pen.polygon([(-0.3, 0.15), (0.3, 0.15), (0.34, 0.48), (0, 0.42), (-0.34, 0.48)], shorts, edge)
    pen.polygon([(-0.34, -0.48), (0.34, -0.48), (0.31, 0.22), (-0.31, 0.22)], shirt, edge)
    pen.ellipse((0, -0.72), (0.2, 0.24), skin)
    pen.polygon([(-0.2, -0.74), (-0.16, -0.96), (0.16, -0.96), (0.2, -0.74), (0, -0.84)], rng.choice(HAIR))


def _near(rng: Random, x: float, y: float) -> Point:
    return x + rng.uniform(-5, 5), y + rng.uniform(-4, 4)


def _save(draw: ImageDraw.ImageDraw, rng: Random, keeper: str, striker: str) -> None:
    side = rng.choice((-1, 1))
    _goal(draw, 96, 62)
    x, y = _near(rng, 96 + side * 14, 92)
    _player(draw, rng, "cheer", keeper, (x, y), 30, tilt=side * 1.25)
    _ball(draw, x + side * 36, y - 12)
    _player(draw, rng, "kick", striker, _near(rng, 96 - side * 40, 146), 38, flip=side)


def _score(draw: ImageDraw.ImageDraw, rng: Random, striker: str, keeper: str) -> None:
    side = rng.choice((-1, 1))
    _goal(draw, 96, 62)
    _ball(draw, 96 + side * 46, 26 + rng.uniform(-3, 8))
    _player(draw, rng, "stand", keeper, _near(rng, 96 - side * 20, 72), 30)
    _player(draw, rng, "kick", striker, _near(rng, 96 + side * 20, 146), 38, flip=side)


def _celebration(draw: ImageDraw.ImageDraw, rng: Random, kit: str, _: str) -> None:
    for x in (60, 132):
        _player(draw, rng, "cheer", kit, _near(rng, x, 124), 46)


def _card(draw: ImageDraw.ImageDraw, rng: Random, defender: str, referee: str) -> None:
    side = rng.choice((-1, 1))
    x, y = _near(rng, 96 - side * 34, 124)
    _player(draw, rng, "show", referee, (x, y), 46, flip=side)
    Pen(draw, x + side * 23, y - 52, 9).polygon(
        [(-0.7, -1), (0.7, -1), (0.7, 1), (-0.7, 1)], (225, 25, 30), (255, 255, 255)
    )
    _player(draw, rng, "stand", defender, _near(rng, 96 + side * 40, 124), 46, flip=-side)


def _corner(draw: ImageDraw.ImageDraw, rng: Random, winger: str, defender: str) -> None:
    side = rng.choice((-1, 1))
    whole = Pen(draw, 96, 0, 1)
    whole.line([(-side * 88, 178), (-side * 88, 112)], (250, 250, 250), 3)
    whole.polygon([(-side * 88, 112), (-side * 66, 120), (-side * 88, 130)], (245, 140, 30))
    whole.line([(-side * 96, 150), (-side * 66, 160), (-side * 56, 192)], CHALK, 2.5)
    x, y = _near(rng, 96 - side * 46, 138)
    _player(draw, rng, "kick", winger, (x, y), 42, flip=side)
    _ball(draw, x + side * 44, y + 18)
    _player(draw, rng, "stand", defender, _near(rng, 96 + side * 58, 106), 34, flip=-side)


def _tackle(draw: ImageDraw.ImageDraw, rng: Random, defender: str, midfielder: str) -> None:
    side = rng.choice((-1, 1))
    _player(draw, rng, "kick", midfielder, _near(rng, 96 + side * 36, 116), 46, flip=side)
    _player(draw, rng, "kick", defender, _near(rng, 96 - side * 30, 150), 42, flip=side, tilt=-side * 1.0)
    _ball(draw, 96 + side * 76, 168)


def _trophy(draw: ImageDraw.ImageDraw, rng: Random, kit: str, _: str) -> None:
    x, y = _near(rng, 96, 128)
    _player(draw, rng, "lift", kit, (x, y), 52)
    pen = Pen(draw, x, y - 74, 18)
    gold, edge = (240, 195, 60), (165, 120, 20)
    pen.ellipse((-0.6, -0.2), (0.35, 0.45), mix(gold, (0, 0, 0), 0.2))
    pen.ellipse((0.6, -0.2), (0.35, 0.45), mix(gold, (0, 0, 0), 0.2))
    pen.polygon(
        [(-0.7, -0.8), (0.7, -0.8), (0.35, 0.3), (0.12, 0.5), (0.4, 1), (-0.4, 1), (-0.12, 0.5), (-0.35, 0.3)],
        gold,
        edge,
    )


def _wall(draw: ImageDraw.ImageDraw, rng: Random, striker: str, wall: str) -> None:
    side = rng.choice((-1, 1))
    for k in range(3):
        _player(draw, rng, "stand", wall, (96 + side * (18 + 24 * k) + rng.uniform(-2, 2), 96), 34)
    x, y = _near(rng, 96 - side * 44, 142)
    _player(draw, rng, "kick", striker, (x, y), 42, flip=side)
    _ball(draw, 96 + side * rng.uniform(-10, 30), 42 + rng.uniform(-4, 4))


_SCENES: dict[str, Callable[[ImageDraw.ImageDraw, Random, str, str], None]] = {
    "save": _save,
    "score": _score,
    "celebration": _celebration,
    "card": _card,
    "corner": _corner,
    "tackle": _tackle,
    "trophy": _trophy,
    "wall": _wall,
}
