"""The queue and the ledger alone: files found → rows queued → rows captioned, by a captioner that does nothing.

usage: python benchmarks/throughput.py [--pictures 20000] [--files 100000] [--database URL --redis URL] [--json]

Prints, with everything needed to trust it: files enqueued a second and its peak memory, seconds of a second enqueue
over unchanged files, and pictures a second from the first claim to the last committed caption with a worker whose
model does nothing (pictures are 2x1 BMPs of 10 KB: they are read, hashed and decoded, which costs some 0.1 ms).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BLIPQ = [sys.executable, "-P", "-m", "blipq"]


def picture(number: int) -> bytes:
    """A 2x1 BMP that no other number has, filled up to a size that hardly another has, as with photos.

    Of all formats it takes the least to decode, 0.07 ms, since decoding is not what is measured.
    """
    pixels = struct.pack(">Q", number)[2:] + b"\0\0"
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 62, 0, 0, 54) + header + pixels + b"-" * (number % 20_000)


def draw(folder: Path, count: int) -> None:
    """Files spread over folders of a thousand."""
    for number in range(count):
        place = folder / f"{number // 1000:05}"
        if number % 1000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:08}.bmp").write_bytes(picture(number))


def model(folder: Path) -> Path:
    """A folder that has a digest; nobody loads it."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"none")
    return folder


def run(*arguments: str, environment: dict[str, str]) -> tuple[dict[str, Any], float, float]:
    """A real command: its answer, its seconds, and its peak memory in MB."""
    before = time.perf_counter()
    process = subprocess.Popen([*BLIPQ, *arguments, "--json"], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"blipq {' '.join(arguments)} ended with {status}")
    return json.loads(answer), time.perf_counter() - before, usage.ru_maxrss / 1024


def measure(pictures: int, files: int, database: str | None, redis: str | None) -> dict[str, Any]:
    """One run; returns the figures."""
    place = Path(tempfile.mkdtemp(prefix="blipq-bench-"))
    environment = os.environ | {
        "BLIPQ_HOME": str(place / "home"),
        "BLIPQ_CAPTIONER": "null:open_captioner",
        "PYTHONPATH": str(HERE),
        "BLIPQ_DECODE_MEMORY": "1000000000",
        "BLIPQ_BATCH_SIZE": "512",  # the largest that is chosen: what a batch of nothing takes cannot be measured
    }
    environment |= {"BLIPQ_DATABASE_URL": database} if database else {}
    environment |= {"BLIPQ_REDIS_URL": redis} if redis else {}
    worker = None
    try:
        where = str(model(place / "model"))
        draw(place / "few", pictures)
        draw(place / "many", files)
        subprocess.run([*BLIPQ, "db", "upgrade"], env=environment, check=True, stdout=subprocess.DEVNULL)
        if redis:
            worker = subprocess.Popen([*BLIPQ, "worker", "--queues", "caption"], env=environment, stdout=sys.stderr)
        figures: dict[str, Any] = {"pictures": pictures, "files": files, "database": database or "SQLite"}
        answer, _, _ = run("enqueue", str(place / "few"), "--model", where, "--wait", "-q", environment=environment)
        figures["captioned_per_second"] = answer["done"] / answer["seconds"]
        subprocess.run([*BLIPQ, "pause"], env=environment, check=True, stdout=subprocess.DEVNULL)
        _, took, memory = run("enqueue", str(place / "many"), "--model", where, "-q", environment=environment)
        figures |= {"enqueued_per_second": files / took, "enqueue_memory_mb": memory}
        _, again, _ = run("enqueue", str(place / "few"), "--model", where, "-q", environment=environment)
        figures |= {"unchanged_seconds": again, "unchanged_per_second": pictures / again}
        return figures
    finally:
        subprocess.run([*BLIPQ, "down"], env=environment, stdout=subprocess.DEVNULL, check=False)
        if worker is not None:
            worker.terminate()
            worker.wait()
        shutil.rmtree(place)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--database")
    parser.add_argument("--redis")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    figures = measure(asked.pictures, asked.files, asked.database, asked.redis)
    figures |= {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "cores": os.cpu_count()}
    figures["peak_rss_children_mb"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if asked.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value:,.1f}" if isinstance(value, float) else f"{name:24} {value}")


if __name__ == "__main__":
    main()
