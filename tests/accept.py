"""`make accept`: the published checkpoints, on a machine that reaches the Hub. Prints PASS or FAIL a line.

Photos of the football data set are captioned, greedy and with three beams, in fp32: the engine's token ids must equal
those of Hugging Face's `generate`, and the captions that `blipq enqueue` writes must be their words.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

MODELS = (
    "Salesforce/blip-image-captioning-base@82a37760796d32b1411fe092ab5d4e227313294b",
    "Salesforce/blip-image-captioning-large@2227ac38c9f16105cb0412e7cab4759978a8fd90",
    "ybelkada/blip-image-captioning-base-football-finetuned",  # its commit is printed by the first run, to be pinned
)
DATASET = "ybelkada/football-dataset"
PHOTOS = 6
BLIPQ = (sys.executable, "-P", "-m", "blipq")


def write_photos(folder: Path) -> list[Path]:
    """The data set's first photos as PNG files."""
    from datasets import load_dataset

    paths = [folder / f"{number}.png" for number in range(PHOTOS)]
    for path, row in zip(paths, load_dataset(DATASET, split="train"), strict=False):
        row["image"].convert("RGB").save(path)
    return paths


def generated(folder: Path, paths: list[Path], beams: int) -> Iterator[tuple[list[int], str]]:
    """Token ids after [DEC], and words, as Hugging Face gives them: one picture a call, fp32."""
    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor = BlipProcessor.from_pretrained(folder)
    for path in paths:
        inputs = processor(images=Image.open(path), return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, num_beams=beams, max_new_tokens=20, do_sample=False)[0]
        yield tokens[1:].tolist(), processor.decode(tokens, skip_special_tokens=True)


def engine(folder: Path, paths: list[Path], beams: int) -> list[list[int]]:
    """Token ids as our engine gives them, all pictures in one batch, fp32."""
    from blipq.worker.engine.captioner import Decoding, open_captioner
    from blipq.worker.engine.picture import Limits, Picture, Shape, decode

    captioner = open_captioner(str(folder), "auto", "fp32")
    wants = captioner.preprocessing
    shape = Shape(wants.height, wants.width, wants.resample, draft=False)
    pictures = [decode(path.read_bytes(), shape, Limits(10**8, 10**9, 10**10, 60)) for path in paths]
    pixels = np.stack([picture.pixels for picture in pictures if isinstance(picture, Picture)])
    said = captioner.caption(pixels, [""] * len(paths), Decoding(num_beams=beams, max_new_tokens=20), [0] * len(paths))
    return [list(caption.tokens) for caption in said]


def queued(name: str, commit: str, folder: Path, paths: list[Path], beams: int) -> list[str]:
    """What `blipq enqueue` wrote."""
    options = ["--model", name, "--num-beams", str(beams), "--precision", "fp32", "--wait", "--quiet"]
    subprocess.run([*BLIPQ, "enqueue", str(folder), *options], check=True)
    pinned = f"{name.partition('@')[0]}@{commit}"
    query = f"select path, caption from results where num_beams = {beams} and model = '{pinned}'"
    done = subprocess.run([*BLIPQ, "sql", query, "--format", "csv"], check=True, capture_output=True, text=True)
    said = {row["path"]: row["caption"] for row in csv.DictReader(done.stdout.splitlines())}
    return [said[str(path)] for path in paths]


def main() -> int:
    """Check every model; 1 where anything failed."""
    from blipq.worker.engine.weights import fetch

    passed = True
    with tempfile.TemporaryDirectory() as place:
        os.environ["BLIPQ_HOME"] = str(Path(place) / "home")
        photos = Path(place).resolve() / "photos"
        photos.mkdir()
        paths = write_photos(photos)
        for name in MODELS:
            base, _, revision = name.partition("@")
            folder = fetch(base, revision or None)
            for beams in (1, 3):
                truth = list(generated(folder, paths, beams))
                for what, holds in (
                    ("token ids", engine(folder, paths, beams) == [tokens for tokens, _ in truth]),
                    (
                        "captions in SQL",
                        queued(name, folder.name, photos, paths, beams) == [words for _, words in truth],
                    ),
                ):
                    passed &= holds
                    print(f"{'PASS' if holds else 'FAIL'} {base}@{folder.name} beams {beams}: {what}", flush=True)
        subprocess.run([*BLIPQ, "down"], check=False)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
