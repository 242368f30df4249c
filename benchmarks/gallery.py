"""What `blipq serve` takes: pages of 100,000 captions, and a caption by HTTP, alone and beside a large folder.

usage: python benchmarks/gallery.py [--captions 100000] [--requests 200] [--folder 100000] [--json]

Pages: GET of the whole page from a fresh connection each, median and worst of 20, on SQLite. Captions: POST /v1/caption
of distinct 640x480 JPEGs, one after the other, to a real worker whose model sleeps for a known time a batch; `adds` is
what is left when that time is taken off: upload, two commits, the bell, decoding, polling. `beside a folder` has a
folder of 100,000 pictures being captioned at normal priority meanwhile: a picture waits for the batch that is on the
model, then takes its own, so what it takes beyond its own batch is to be compared with one batch + 200 ms.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import httpx
import numpy as np
from PIL import Image
from sqlalchemy import insert

from blipq.models import recipes
from blipq.models.database import open_ledger
from blipq.models.migrate import ensure_schema
from blipq.models.schema import caption, file, image, item, job, unit
from blipq.settings import Settings

HERE = Path(__file__).parent
BLIPQ = [sys.executable, "-P", "-m", "blipq"]
MODEL_SECONDS = 0.1  # a batch of the idle measurement
BATCH_SECONDS = 0.4  # and of the folder's, of 16 pictures
BATCH = 16
WORDS = "a the man woman dog cat standing sitting riding horse bicycle street beach red blue green large on in tree"


def fill(home: Path, count: int) -> None:
    """A ledger of so many captioned photos: ten words each, one of them with a zebra, every 50th flagged."""
    ledger = open_ledger(Settings(home=home))
    ensure_schema(ledger)
    drawn, words = random.Random(0), WORDS.split()
    with ledger.write() as c:
        recipe = recipes.record(c, recipes.Recipe(weights="sha256:00"), "demo")
        values = {"kind": "caption", "state": "done", "source": "x", "model": "demo", "parameters": "{}", "priority": 0}
        c.execute(insert(job).values(id=1, recipe_id=recipe, total=count, **values))
        c.execute(insert(unit).values(id=1, job_id=1, queue="caption", state="done", pictures=count, done=count))
    for first in range(1, count + 1, 2000):
        numbers = range(first, min(count, first + 1999) + 1)
        sizes = {"width": 640, "height": 480, "format": "JPEG"}
        with ledger.write() as c:
            c.execute(
                insert(image), [{"id": n, "sha256": hashlib.sha256(b"%d" % n).digest(), **sizes} for n in numbers]
            )
            rows = [{"id": n, "path": f"/photos/{n:07}.jpg", "size": n, "mtime_ns": 0, "image_id": n} for n in numbers]
            c.execute(insert(file), rows)
            said = {n: " ".join(drawn.choices(words, k=10)) + " zebra" * (n == 77) for n in numbers}
            captions = [
                {"image_id": n, "recipe_id": recipe, "text": said[n], "flag": None if n % 50 else "cut"}
                for n in numbers
            ]
            c.execute(insert(caption), captions)
            c.execute(insert(item), [{"job_id": 1, "unit_id": 1, "file_id": n, "state": "done"} for n in numbers])
    ledger.close()


class Server:
    """A running `blipq serve`, ended with its daemon."""

    def __init__(self, home: Path, **env: str) -> None:
        self.env = os.environ | {"BLIPQ_HOME": str(home), **env}
        self.process = subprocess.Popen(
            [*BLIPQ, "serve", "--port", "0"], env=self.env, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        found = re.search(r"http://\S+", self.process.stderr.readline())
        assert found
        self.url = found[0]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate()
        subprocess.run([*BLIPQ, "down"], env=self.env, stdout=subprocess.DEVNULL, check=False)


def pages(place: Path, count: int) -> dict[str, float]:
    """Milliseconds of pages: medians and the worst."""
    fill(place / "gallery", count)
    server = Server(place / "gallery")
    addresses = {
        "first page": "/",
        "search, common word": "/?q=dog",
        "search, two words": "/?q=red+horse",
        "search, one photo": "/?q=zebra",
        "search, no photo": "/?q=nowhere",
        "flagged": "/?only=flagged",
        "a page far down": f"/?before={count // 20}",
        "one photo": "/photos/77",
    }
    try:
        figures = {}
        for name, address in addresses.items():
            took = []
            for _ in range(21):
                began = time.perf_counter()
                with urlopen(server.url + address, timeout=60) as answer:  # httpx.get spends 50 ms on a TLS context
                    answer.read()
                took.append(1000 * (time.perf_counter() - began))
            took = took[1:]  # the first compiles the template
            figures[f"{name}, ms"] = statistics.median(took)
            figures[f"{name}, worst ms"] = max(took)
        return figures
    finally:
        server.close()


def photo(number: int) -> bytes:
    """A 640x480 JPEG that no other number has, as hard to decode as a photo."""
    noise = np.random.default_rng(number).integers(0, 255, (60, 80, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC).save(made, "JPEG", quality=90)
    return made.getvalue()


def post(server: Server, requests: int, start: int) -> list[float]:
    """Seconds of so many POSTs, one after the other, with pauses that fall in no step with batches."""
    drawn, took = random.Random(start), []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for number in range(start, start + requests):
            data = photo(number)
            time.sleep(drawn.random() * 0.05)
            began = time.perf_counter()
            answer = client.post("/v1/caption", files={"image": ("a.jpg", data)})
            took.append(time.perf_counter() - began)
            assert answer.status_code == 200, answer.text
    return took


def folder(place: Path, count: int) -> None:
    """So many pictures of 16x16, each a content of its own, a tenth of a millisecond to write."""
    place.mkdir()
    made = io.BytesIO()
    Image.new("RGB", (16, 16)).save(made, "BMP")
    head = made.getvalue()[:-768]
    for number in range(count):
        (place / f"{number:06}.bmp").write_bytes(head + number.to_bytes(4) * 192)


def captions(place: Path, requests: int, beside: int) -> dict[str, float]:
    """What POST /v1/caption adds to the model's time, alone and beside a folder."""
    model = place / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"none")
    env = {
        "BLIPQ_CAPTIONER": "timed:open_captioner",
        "PYTHONPATH": str(HERE),
        "BLIPQ_MODEL": str(model),
        "BLIPQ_BATCH_SIZE": str(BATCH),
    }
    figures: dict[str, float] = {}
    server = Server(place / "idle", **env, BLIPQ_BENCH_SECONDS=str(MODEL_SECONDS))
    try:
        post(server, 5, 10**6)  # the worker starts
        took = [1000 * (seconds - MODEL_SECONDS) for seconds in post(server, requests, 0)]
    finally:
        server.close()
    figures |= {"POST adds, ms": statistics.median(took), "POST adds, p99 ms": percentile(took, 99)}
    folder(place / "many", beside)
    server = Server(place / "busy", **env, BLIPQ_BENCH_SECONDS=str(BATCH_SECONDS))
    try:
        post(server, 2, 10**6)
        queue = [*BLIPQ, "enqueue", str(place / "many"), "--quiet"]
        subprocess.run(queue, env=server.env, stdout=subprocess.DEVNULL, check=True)
        took = [1000 * seconds for seconds in post(server, requests // 2, 2 * 10**6)]
        jobs = httpx.get(server.url + "/v1/jobs").json()
        left = max(found["remaining"] for found in jobs)
        if not left:
            raise SystemExit("the folder was done before the requests were: the figure beside it means nothing")
    finally:
        server.close()
    figures |= {
        "POST beside a folder, ms": statistics.median(took),
        "POST beside a folder, p99 ms": percentile(took, 99),
        "beyond its own batch, p99 ms": percentile(took, 99) - 1000 * BATCH_SECONDS,
        "one batch + 200, ms": 1000 * BATCH_SECONDS + 200,
    }
    return figures


def percentile(values: list[float], share: int) -> float:
    """The smallest value that so many of a hundred do not exceed."""
    return sorted(values)[max(0, -(-len(values) * share // 100) - 1)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--folder", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="blipq-bench-", dir="/tmp"))
    try:
        figures: dict[str, Any] = pages(place, asked.captions) | captions(place, asked.requests, asked.folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    figures |= {"captions": asked.captions, "requests": asked.requests, "folder": asked.folder, "cores": os.cpu_count()}
    if asked.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:34} {value:,.1f}" if isinstance(value, float) else f"{name:34} {value:,}")


if __name__ == "__main__":
    main()
