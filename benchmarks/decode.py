"""Decode and resize: Pillow in full against blipq's draft decoding, images a second and core.

    .venv/bin/python benchmarks/decode.py [--json] [--rounds 7]

The contestants take turns on the same files, in one process on one core, file to 384 x 384 pixels; medians. blipq's
time includes what only it does: hashing the content, turning it upright, checking limits. Pillow's is the usual line,
`Image.open(path).convert("RGB").resize(...)`, whose `convert` copies 48 MB for nothing; "blipq, in full" does not copy.
Below, the pool over all cores. The 12-megapixel pictures are made from ../shared/data/photos (without it: drawn), since
no camera's files are at hand: `soft` is a photo enlarged, `noisy` the same with a sensor's noise, `sharp` many photos
side by side: natural detail down to the single pixel, more than any lens gives and the worst case for a draft.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, features
from PIL import __version__ as pillow

from blipq.worker.engine.picture import Limits, Picture, Shape, decode
from blipq.worker.engine.pool import DecodePool, Request

LIMITS = Limits(pixels=50_000_000, bytes=200_000_000, memory=2_000_000_000, seconds=60)
PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
SIZE = 384


def photos() -> list[Image.Image]:
    """Real photos where they are at hand, else drawn noise of several scales."""
    if PHOTOS.is_dir():
        return [Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.jpg"))[:80]]
    dice = np.random.default_rng(0)
    drawn = []
    for _ in range(8):
        layers = [dice.integers(0, 256, (288, 384, 3), np.uint8) for _ in range(3)]
        image = Image.fromarray(layers[0]).filter(ImageFilter.GaussianBlur(20))
        for blur, layer in zip((6, 2), layers[1:], strict=True):
            image = Image.blend(image, Image.fromarray(layer).filter(ImageFilter.GaussianBlur(blur)), 0.4)
        drawn.append(image)
    return drawn


def pictures(folder: Path) -> dict[str, Path]:
    """Write the JPEGs; what each is called says what it is."""
    have = photos()

    def enlarged(number: int, size: tuple[int, int]) -> Image.Image:
        return have[number % len(have)].resize(size, Image.Resampling.LANCZOS)

    def noisy(image: Image.Image) -> Image.Image:
        grain = np.random.default_rng(1).normal(0, 6, (image.height, image.width, 1)).astype(np.int16)
        return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))

    def sharp(size: tuple[int, int]) -> Image.Image:
        canvas = Image.new("RGB", size)
        for number in range((size[0] // 380 + 1) * (size[1] // 250 + 1)):
            row, column = divmod(number, size[0] // 380 + 1)
            canvas.paste(have[number % len(have)], (column * 380, row * 250))
        return canvas

    large = (4000, 3000)
    made = {
        "12 MP soft, quality 90": (enlarged(3, large), 90),
        "12 MP noisy, quality 75": (noisy(enlarged(3, large)), 75),
        "12 MP noisy, quality 90": (noisy(enlarged(3, large)), 90),
        "12 MP sharp, quality 90": (sharp(large), 90),
        "640 x 480, quality 90": (enlarged(3, (640, 480)), 90),
    }
    paths = {}
    for number, (name, (image, quality)) in enumerate(made.items()):
        paths[name] = folder / f"{number}.jpg"
        image.save(paths[name], quality=quality)
    return paths


def by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def by_blipq(path: Path, draft: bool) -> np.ndarray:
    found = decode(path.read_bytes(), Shape(SIZE, SIZE, draft=draft), LIMITS)
    assert isinstance(found, Picture), found
    return found.pixels


CONTESTANTS: dict[str, Callable[[Path], np.ndarray]] = {
    "Pillow, in full": by_pillow,
    "blipq, in full": lambda path: by_blipq(path, False),
    "blipq, draft": lambda path: by_blipq(path, True),
}


def on_one_core(paths: dict[str, Path], rounds: int) -> list[dict[str, object]]:
    """Each contestant on each file in turn, `rounds` times; medians, and the mean difference to Pillow's pixels."""
    rows: list[dict[str, object]] = []
    for name, path in paths.items():
        seconds: dict[str, list[float]] = {contestant: [] for contestant in CONTESTANTS}
        pixels: dict[str, np.ndarray] = {}
        for _ in range(rounds + 1):
            for contestant, run in CONTESTANTS.items():
                began = time.perf_counter()
                pixels[contestant] = run(path)
                seconds[contestant].append(time.perf_counter() - began)
        exact = pixels["Pillow, in full"].astype(int)
        base = statistics.median(seconds["Pillow, in full"][1:])
        for contestant, taken in seconds.items():
            median = statistics.median(taken[1:])  # the first round warms the file cache
            rows.append(
                {
                    "picture": name,
                    "bytes": path.stat().st_size,
                    "contestant": contestant,
                    "images_per_second": 1 / median,
                    "times_pillow": base / median,
                    "mean_difference": float(np.abs(pixels[contestant] - exact).mean()),
                }
            )
    return rows


def by_the_pool(paths: dict[str, Path], rounds: int, processes: int) -> list[dict[str, object]]:
    """Images a second through `DecodePool`, pixels in this process's hands; `start` is its first answer."""
    rows: list[dict[str, object]] = []
    began = time.perf_counter()
    with DecodePool(processes, LIMITS) as pool:
        pool.submit(Request(data=b"")).result()
        start = time.perf_counter() - began
        for name, path in paths.items():
            count = (16 if name.startswith("12 MP") else 200) * processes
            rates = []
            for _ in range(rounds):
                began = time.perf_counter()
                futures = [pool.submit(Request(path=bytes(path), shape=Shape(SIZE, SIZE))) for _ in range(count)]
                assert all(isinstance(future.result(), Picture) for future in futures)
                rates.append(count / (time.perf_counter() - began))
            row = {"picture": name, "processes": processes, "images_per_second": statistics.median(rates)}
            rows.append(row | {"start_seconds": start})
        # What a picture costs beside its decoding: a path that leads nowhere is answered at once.
        began = time.perf_counter()
        for future in [pool.submit(Request(path=b"/nowhere", shape=Shape(SIZE, SIZE))) for _ in range(5000)]:
            future.result()
        rate = 5000 / (time.perf_counter() - began)
        rows.append({"picture": "none (overhead)", "processes": processes, "images_per_second": rate})
    return rows


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median is taken")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of the pool")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder))
        alone = on_one_core(paths, options.rounds)
        pooled = by_the_pool(paths, max(3, options.rounds // 2), options.processes)
    setting = {
        "python": platform.python_version(),
        "pillow": pillow,
        "libjpeg-turbo": features.version_feature("libjpeg_turbo"),
        "numpy": np.__version__,
        "processor": processor(),
        "rounds": options.rounds,
        "load": os.getloadavg()[0],
        "photos": PHOTOS.is_dir(),
    }
    if options.json:
        print(json.dumps({"setting": setting, "one_core": alone, "pool": pooled}))
        return
    print(", ".join(f"{name} {value}" for name, value in setting.items()))
    print(f"\n{'picture':26}{'MB':>6}  {'contestant':18}{'images/s a core':>16}{'x Pillow':>10}{'mean diff/255':>15}")
    for row in alone:
        print(
            f"{row['picture']:26}{row['bytes'] / 1e6:6.2f}  {row['contestant']:18}{row['images_per_second']:16.1f}"
            f"{row['times_pillow']:10.2f}{row['mean_difference']:15.3f}"
        )
    print(f"\n{'pool of ' + str(options.processes) + ' processes':32}{'images/s':>10}")
    for row in pooled:
        print(f"{row['picture']:32}{row['images_per_second']:10.1f}")
    print(f"first answer of a new pool after {pooled[0]['start_seconds']:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
