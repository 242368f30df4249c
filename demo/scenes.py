"""Drawn pictures with their true captions: two domains, seeded, train and held-out split by caption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
from PIL import Image

from blipq.demo import football, things
from blipq.demo.pen import finish


@dataclass(frozen=True)
class Scene:
    """A drawn picture (RGB, 192 × 192) and what it shows."""

    image: Image.Image
    caption: str


def is_held_out(caption: str) -> bool:
    """Whether a caption is one of the tenth that no training picture has: a hash of its words decides."""
    return hashlib.blake2b(caption.encode(), digest_size=8).digest()[0] % 10 == 0


class _Plan(Protocol):
    """What a domain decides before it draws."""

    @property
    def caption(self) -> str: ...

    def paint(self, rng: Random, noise: np.random.Generator) -> Image.Image: ...


_PLANS: dict[str, Callable[[Random], _Plan]] = {"scenes": things.plan, "football": football.plan}
DOMAINS = tuple(_PLANS)


def _plan(domain: str, rng: Random, held_out: bool) -> _Plan:
    if domain not in _PLANS:
        raise ValueError(f"no domain {domain!r}: {' or '.join(DOMAINS)}")
    while is_held_out((scene := _PLANS[domain](rng)).caption) != held_out:
        pass
    return scene


def _random(domain: str, seed: int) -> tuple[Random, np.random.Generator]:
    rng = Random(f"{domain} {seed}")
    return rng, np.random.default_rng(rng.getrandbits(64))


def draw(domain: str, seed: int, *, held_out: bool = False) -> Scene:
    """Draw picture `seed` of a domain, from the training or the held-out captions; 2 to 4 ms.

    The same arguments give the same pixels. Raises ValueError for a domain that is not in DOMAINS.
    """
    rng, noise = _random(domain, seed)
    scene = _plan(domain, rng, held_out)
    return Scene(finish(scene.paint(rng, noise), noise), scene.caption)


def caption(domain: str, seed: int, *, held_out: bool = False) -> str:
    """The caption of `draw` with the same arguments, without its picture."""
    return _plan(domain, _random(domain, seed)[0], held_out).caption


def write_folder(folder: Path, domain: str, count: int, seed: int, *, held_out: bool = False) -> None:
    """Write `count` JPEGs and their `metadata.jsonl` (`file_name`, `text`): Hugging Face's image folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as metadata:
        for number in range(count):
            scene = draw(domain, seed + number, held_out=held_out)
            name = f"{number:05d}.jpg"
            scene.image.save(folder / name, quality=92)
            metadata.write(json.dumps({"file_name": name, "text": scene.caption}) + "\n")
