"""`make accept`: the published checkpoints, on a machine that reaches the Hub. Prints PASS or FAIL a line.

For each model, pinned to a commit at the first run's resolution, fixed photos are captioned through `blipq enqueue`, and
the token ids must equal those of Hugging Face's `generate` in fp32, greedy and with three beams.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = (
    "Salesforce/blip-image-captioning-base",
    "Salesforce/blip-image-captioning-large",
    "ybelkada/blip-image-captioning-base-football-finetuned",
)
DATASET = "ybelkada/football-dataset"
PHOTOS = 6


def photos(folder: Path) -> list[Path]:
    """The data set's photos as PNG files."""
    from datasets import load_dataset

    paths = []
    for number, row in enumerate(load_dataset(DATASET, split="train")):
        if number == PHOTOS:
            break
        paths.append(folder / f"{number}.png")
        row["image"].convert("RGB").save(paths[-1])
    return paths


def generated(folder: Path, paths: list[Path], beams: int) -> list[str]:
    """What Hugging Face says, one picture a call, fp32."""
    import torch
    from PIL import Image
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor = BlipProcessor.from_pretrained(folder)
    said = []
    for path in paths:
        inputs = processor(images=Image.open(path), return_tensors="pt")
        with torch.inference_mode():
            tokens = model.generate(**inputs, num_beams=beams, max_new_tokens=20, do_sample=False)
        said.append(processor.decode(tokens[0], skip_special_tokens=True))
    return said


def captioned(name: str, folder: Path, paths: list[Path], beams: int) -> list[str]:
    """What `blipq enqueue` wrote."""
    blipq = [sys.executable, "-P", "-m", "blipq"]
    options = ["--model", name, "--num-beams", str(beams), "--precision", "fp32", "--wait", "--quiet"]
    subprocess.run([*blipq, "enqueue", str(folder), *options], check=True)
    query = f"select path, caption from results where num_beams = {beams} and model = '{name}' order by path"
    done = subprocess.run([*blipq, "sql", query, "--format", "csv"], check=True, capture_output=True, text=True)
    import csv

    said = {row["path"]: row["caption"] for row in csv.DictReader(done.stdout.splitlines())}
    return [said[str(path)] for path in paths]


def main() -> int:
    """Check every model; the number that failed."""
    from blipq.worker.engine.weights import fetch

    failed = 0
    with tempfile.TemporaryDirectory() as place:
        os.environ["BLIPQ_HOME"] = str(Path(place) / "home")
        folder = Path(place) / "photos"
        folder.mkdir()
        paths = photos(folder)
        for name in MODELS:
            where = fetch(name)
            for beams in (1, 3):
                equal = generated(where, paths, beams) == captioned(name, folder, paths, beams)
                failed += not equal
                print(f"{'PASS' if equal else 'FAIL'} {name} at {where.name}, beams {beams}", flush=True)
        subprocess.run([sys.executable, "-P", "-m", "blipq", "down"], check=False)
    return failed


if __name__ == "__main__":
    sys.exit(bool(main()))
