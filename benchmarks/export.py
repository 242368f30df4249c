"""Exports of a synthetic ledger: rows a second and peak memory, by format.

    python benchmarks/export.py [--rows 1000000] [--to jsonl,csv,parquet] [--json]

The ledger is SQLite in a temporary folder: a file, content and caption a row, one caption in a hundred edited. Each
export is a process of its own, the real command; memory is its peak resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from blipq import settings
from blipq.models.database import open_ledger
from blipq.models.migrate import ensure_schema

CHUNK = 50_000


def fill(home: Path, rows: int) -> None:
    """A ledger with so many captioned photos."""
    ledger = open_ledger(settings.Settings(home=home))
    ensure_schema(ledger)
    with ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO recipe VALUES (1, x'00', 'Salesforce/blip-image-captioning-base', 'hub:x@y',"
            " '', 1, 20, 0, 0, 1, 50, 1, 1, 1, 0, 0, 'blipq-1', 0)"
        )
    for start in range(0, rows, CHUNK):
        ids = range(start + 1, min(start + CHUNK, rows) + 1)
        with ledger.write() as connection:
            connection.exec_driver_sql(
                "INSERT INTO image VALUES (?, ?, 640, 480, 'JPEG')", [(at, at.to_bytes(32)) for at in ids]
            )
            connection.exec_driver_sql(
                "INSERT INTO file VALUES (?, ?, NULL, 1, 1, ?)",
                [(at, f"/srv/photos/2026/{at % 1000:03}/IMG_{at:08}.jpg", at) for at in ids],
            )
            connection.exec_driver_sql(
                "INSERT INTO caption (image_id, recipe_id, text, score, created_at) VALUES (?, 1, ?, -0.9, 1.7e9)",
                [(at, f"a man riding a wave on top of a surfboard, number {at}") for at in ids],
            )
            connection.exec_driver_sql(
                "INSERT INTO edit (image_id, text, author, created_at) VALUES (?, 'a surfer', 'me', 1.8e9)",
                [(at,) for at in ids if at % 100 == 0],
            )
    ledger.close()


def measure(home: Path, to: str, rows: int) -> dict[str, object]:
    """One export, by the command."""
    out = home / f"out.{to}"
    command = [sys.executable, "-P", "-m", "blipq", "export", "--to", to, "-o", str(out), "--json"]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | {"BLIPQ_HOME": str(home)}, stdout=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert process.stdout
    written = json.loads(process.stdout.read())["written"]
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, written) == (0, rows)
    unit = 1 if sys.platform == "darwin" else 1024
    size = out.stat().st_size
    out.unlink()
    return {
        "to": to,
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss * unit / 1e6),
        "file_mb": round(size / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--to", default="jsonl,csv,parquet")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), asked.rows)
        found = [measure(Path(folder), to, asked.rows) for to in asked.to.split(",")]
    if asked.json:
        print(json.dumps({"benchmark": "export", "results": found}))
        return
    print(f"{'to':8} {'rows':>10} {'seconds':>8} {'rows/s':>8} {'CPU s':>8} {'peak MB':>8} {'file MB':>8}")
    for row in found:
        shown = (row["to"], f"{row['rows']:,}", row["seconds"], f"{row['rows_per_second']:,}")
        print(
            "{:8} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8}".format(
                *shown, row["cpu_seconds"], row["peak_mb"], row["file_mb"]
            )
        )


if __name__ == "__main__":
    main()
