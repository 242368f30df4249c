"""Eight samples in one picture, for the docs: `python -m blipq.demo.samples docs/images/demo-scenes.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from blipq.demo.scenes import draw

TILE, GAP = 176, 6  # pixels
SAMPLES = (
    (("scenes", 73), ("scenes", 5), ("scenes", 8), ("scenes", 96)),
    (("football", 19), ("football", 14), ("football", 42), ("football", 57)),
)


def sheet() -> Image.Image:
    """Two rows of four, scenes above football; 256 colours keep the PNG small."""
    wide, high = (len(SAMPLES[0]) * (TILE + GAP) - GAP), (len(SAMPLES) * (TILE + GAP) - GAP)
    page = Image.new("RGB", (wide, high), "white")
    for row, samples in enumerate(SAMPLES):
        for column, (domain, seed) in enumerate(samples):
            tile = draw(domain, seed).image.resize((TILE, TILE), Image.Resampling.LANCZOS)
            page.paste(tile, (column * (TILE + GAP), row * (TILE + GAP)))
    return page.quantize(256, kmeans=2, dither=Image.Dither.NONE)


if __name__ == "__main__":
    sheet().save(Path(sys.argv[1]), optimize=True)
