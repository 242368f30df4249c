"""A tiny BLIP, drawn pictures with captions, and a home in which the real daemon trains."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "square", "left", "right", "of", *COLOURS]
SIDE = 32


@pytest.fixture(scope="session")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock BLIP folder: 32 px, patch 8, two layers of width 64, a vocabulary of its own, random weights."""
    import torch
    from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    folder = tmp_path_factory.mktemp("tiny") / "blip"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt"))
    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": len(WORDS), "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        vision_config={**tower, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.02},
        text_config={**tower, **ids, "encoder_hidden_size": 64, "vocab_size": len(WORDS) + 1},
        projection_dim=64,
        image_text_hidden_size=64,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    BlipProcessor(BlipImageProcessorPil(size=size), tokenizer).save_pretrained(folder)
    return folder


def draw(first: str, second: str, noise: int) -> Image.Image:
    """Two coloured halves; `noise` makes pictures of one caption differ."""
    pixels = np.zeros((SIDE, SIDE, 3), int)
    pixels[:, : SIDE // 2], pixels[:, SIDE // 2 :] = COLOURS[first], COLOURS[second]
    pixels += np.random.default_rng(noise).integers(-9, 10, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def write_photos() -> Callable[[Path, int], Path]:
    """`write_photos(folder, 24)`: so many pictures with a metadata.jsonl, each with its caption."""

    def write(folder: Path, count: int) -> Path:
        folder.mkdir(parents=True)
        pairs = list(permutations(COLOURS, 2))
        with (folder / "metadata.jsonl").open("w") as lines:
            for number in range(count):
                first, second = pairs[number * 7 % len(pairs)]
                draw(first, second, number).save(folder / f"{number:03}.png")
                caption = f"a {first} square left of a {second} square"
                lines.write(json.dumps({"file_name": f"{number:03}.png", "text": caption}) + "\n")
        return folder

    return write


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[[Path, int], Path]) -> Path:
    """24 pictures: 22 to learn from, 2 held out."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos", 24)


class House:
    """A `BLIPQ_HOME` with its daemon; `house("train", folder)` runs the installed command."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = os.environ | {"BLIPQ_HOME": str(home), "OMP_NUM_THREADS": "1", "BLIPQ_IDLE": "600"}

    def __call__(
        self, *args: object, env: dict[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("blipq")), *map(str, args)]
        return subprocess.run(
            command, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=timeout, check=False
        )

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the ledger, past blipq."""
        import sqlite3

        with closing(sqlite3.connect(f"file:{self.home / 'blipq.db'}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def json(self, *args: object) -> Any:
        """The answer of a command with `--json`, which must succeed."""
        done = self(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def series(self, run: int) -> list[tuple[int, float, float]]:
        """A run's losses: step, loss, unsmoothed."""
        return self.sql(f"select step, loss, unsmoothed from loss where run_id = {run} order by step")

    def until(self, query: str, seconds: float = 120) -> None:
        """Wait until a query has a row."""
        end = time.monotonic() + seconds
        while not self.sql(query):
            if time.monotonic() > end:
                states = self.sql("select id, state, note from job"), self.sql("select id, note from run")
                raise TimeoutError(f"{query}: nothing within {seconds} s; {states}")
            time.sleep(0.02)

    def worker(self) -> int:
        """The process of the training worker."""
        rows = self.sql("select pid from worker where queue = 'train' and state <> 'stopped' order by id desc limit 1")
        return int(rows[0][0]) if rows else 0

    def child(self) -> int | None:
        """The process that trains, if one runs."""
        for folder in Path("/proc").iterdir():
            try:
                if b"engine.training.child" in (folder / "cmdline").read_bytes():
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    if parent == self.worker():
                        return int(folder.name)
            except (OSError, ValueError):
                continue
        return None

    def close(self) -> None:
        """End the daemon, hard if need be, and its broker."""
        from blipq.worker import valkey
        from blipq.worker.lock import DaemonLock

        holder = DaemonLock(self.home).holder()
        if holder is not None:
            for signals in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
                end = time.monotonic() + 5
                try:
                    os.kill(holder.pid, signals)
                    while time.monotonic() < end and DaemonLock(self.home).holder() is not None:
                        time.sleep(0.02)
                except ProcessLookupError:
                    break
                if DaemonLock(self.home).holder() is None:
                    break
        valkey.stop(self.home)


def _house() -> Iterator[House]:
    folder = Path(tempfile.mkdtemp(prefix="blipq-", dir="/tmp"))
    house = House(folder / "home")
    yield house
    house.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """A home that the tests of a file share, in their order: a daemon takes seconds to start."""
    yield from _house()


@pytest.fixture
def own_house() -> Iterator[House]:
    """A home of one test alone."""
    yield from _house()
