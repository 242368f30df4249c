"""Fills a ledger with a bit of everything, through the commands of the release that runs this, and dumps it as SQL.

Run once by each release that the next one has to upgrade from, in its own checkout, before its schema changes:

    python tests/models/ledgers/make.py sqlite tests/models/ledgers/0001.sqlite.sql
    python tests/models/ledgers/make.py postgresql://postgres@127.0.0.1/empty \\
        tests/models/ledgers/0001.postgresql.sql

Paths and the host's name are replaced, so that a dump tells nothing of where it was made.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import blipq

PLACE, HOST = "/srv/blipq", "host-a"


def paint(folder: Path, count: int, first: int) -> Path:
    """Small pictures that all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def fill(at: Path) -> None:
    """Jobs in every state, edits, an import, failures, a trained and promoted run, rows that were deleted again."""

    def blipq(*words: str | Path, may_fail: bool = False) -> None:
        done = subprocess.run(
            [Path(sys.executable).with_name("blipq"), *map(str, words)], text=True, capture_output=True
        )
        if done.returncode and not may_fail:
            raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")

    photos = paint(at / "photos", 10, 0)
    (photos / "broken.jpg").write_text("this is no picture")
    blipq("enqueue", photos, "--model", "demo", "--wait", may_fail=True)  # exits with 1 for the broken one
    blipq("enqueue", photos / "001.png", photos / "002.png", "--model", "demo", "--num-beams", "2", "--wait")
    (at / "own.csv").write_text(f"file_name,text\n{photos / '003.png'},a cup that a person saw\n")
    blipq("import", at / "own.csv")
    blipq("edit", "--prefix", "photo: ", "--where", "path like '%/004.png'")
    taught = paint(at / "taught", 8, 100)
    rows = (f"{number}.png,a small red house on a table" for number in range(100, 108))
    (taught / "metadata.csv").write_text("file_name,text\n" + "\n".join(rows) + "\n")
    blipq("train", taught, "--model", "demo", "--epochs", "2", "--validation", "0.25", "--wait")
    blipq("promote", "1", "--as", "house")
    blipq("evaluate", "--data", taught, "--model", "demo", "--model", "run:1")
    blipq("pause", "caption")
    blipq("enqueue", paint(at / "later", 3, 200), "--model", "demo")
    blipq("enqueue", paint(at / "never", 3, 300), "--model", "demo")
    newest = subprocess.run(
        [Path(sys.executable).with_name("blipq"), "sql", "select max(id) from job", "--format", "csv"],
        text=True, capture_output=True, check=True,
    ).stdout.split()[-1]  # fmt: skip
    blipq("cancel", newest)
    blipq("enqueue", paint(at / "forgotten", 3, 400), "--model", "demo")
    blipq("cancel", str(int(newest) + 1))
    blipq("forget", str(int(newest) + 1), "--yes")
    blipq("forget", at / "forgotten", "--yes")
    blipq("down")


def leave_in_the_middle() -> None:
    """A unit that a worker holds, and a picture that came by HTTP and waits: as an upgrade finds them."""
    from blipq import settings
    from blipq.models import fleet, lease, upload
    from blipq.models.database import open_ledger

    ledger = open_ledger(settings.load())
    with ledger.write() as connection:
        worker = fleet.register(connection, queue="caption", device="cpu", versions="blipq 0.1.0")
        job_id = connection.exec_driver_sql("SELECT id FROM job WHERE state = 'queued'").scalar_one()
        lease.claim(connection, worker, job_id, 30, 64, alone=True)
        upload.receive(
            connection, b"bytes of a picture", "frame.bmp", model="demo", recipe_id=None, parameters={}, deadline_in=60
        )
    ledger.close()


def dump(url: str, home: Path) -> str:
    """The whole database as SQL statements."""
    if url == "sqlite":
        with contextlib.closing(sqlite3.connect(home / "blipq.db")) as connection:
            return "\n".join(connection.iterdump()) + "\n"
    command = ["pg_dump", "--inserts", "--no-owner", "--no-acl", "--no-comments", url]
    found = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    kept = (
        line
        for line in found.splitlines()
        if line and not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog.set_config"))
    )
    return "\n".join(kept) + "\n"


def main() -> None:
    """`make.py URL FILE`; the URL is `sqlite` or that of an empty PostgreSQL database."""
    url, out = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="bq-", dir="/tmp") as folder:
        at = Path(folder)
        os.environ |= {"BLIPQ_HOME": str(at / "home"), "HF_HUB_OFFLINE": "1"}
        if url != "sqlite":
            os.environ["BLIPQ_DATABASE_URL"] = url
            subprocess.run([Path(sys.executable).with_name("blipq"), "db", "upgrade"], check=True)
        fill(at)
        leave_in_the_middle()
        time.sleep(0.1)
        text = dump(url, at / "home")
    code = str(Path(blipq.__file__).parent)
    Path(out).write_text(text.replace(folder, PLACE).replace(code, f"{PLACE}/code").replace(socket.gethostname(), HOST))


if __name__ == "__main__":
    main()
