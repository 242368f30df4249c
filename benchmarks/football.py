"""The demo checkpoint, fine-tuned on drawn football scenes: captions before and after, on 300 held-out pictures.

usage: python benchmarks/football.py [--pictures 2000] [--epochs 6] [--keep FOLDER] [--json]

No caption of the held-out pictures occurs in training. The run is what `blipq train` starts: the training process on a
folder with metadata.jsonl. Its best epoch is chosen by a twentieth of the training pictures, never by the 300.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from blipq.demo.scenes import write_folder
from blipq.worker.engine import metrics
from blipq.worker.engine.captioner import open_captioner
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.picture import Picture, Shape, decode
from blipq.worker.engine.training.pictures import LIMITS

BASE = Path(__file__).resolve().parents[1] / "demo" / "checkpoint"
HELD_OUT = 300
SEED = 20_000_000  # far from the seeds that trained the checkpoint


def captions(model: Path, photos: list[Path]) -> list[str]:
    """What the model says of the photos, greedy."""
    captioner = open_captioner(str(model), "cpu", "fp32")
    shape = Shape(captioner.preprocessing.height, captioner.preprocessing.width, captioner.preprocessing.resample)
    texts: list[str] = []
    for start in range(0, len(photos), 50):
        decoded = [decode(photo.read_bytes(), shape, LIMITS) for photo in photos[start : start + 50]]
        pixels = np.stack([one.pixels for one in decoded if isinstance(one, Picture)])
        count = len(pixels)
        texts += [one.text for one in captioner.caption(pixels, [""] * count, Decoding(max_new_tokens=30), [0] * count)]
    captioner.close()
    return texts


def train(data: Path, out: Path, epochs: int) -> tuple[Path, float, float, list[dict[str, Any]]]:
    """Run the training process; the best checkpoint, seconds from start to exit, those of the CPU, and its events."""
    plan = {
        "base": str(BASE),
        "data": str(data),
        "out": str(out),
        "validation": 0.05,
        "epochs": epochs,
        "lr": 1e-3,
        "batch_size": 64,
        "freeze": "none",
        "label_smoothing": 0.0,
        "devices": ["cpu"],
    }
    began = time.perf_counter()
    command = [sys.executable, "-m", "blipq.worker.engine.training.child"]
    environment = {"OMP_WAIT_POLICY": "PASSIVE"} | os.environ  # as a worker starts it
    done = subprocess.run(
        command, input=json.dumps(plan), stdout=subprocess.PIPE, text=True, check=True, env=environment
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Path(events[-1]["best_path"]), time.perf_counter() - began, used.ru_utime + used.ru_stime, events


def main() -> None:
    """Draw, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--keep", type=Path, help="folder for pictures and checkpoints; a temporary one without it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blipq-") as temporary:
        folder = options.keep or Path(temporary)
        write_folder(folder / "train", "football", options.pictures, SEED)
        write_folder(folder / "held-out", "football", HELD_OUT, SEED, held_out=True)
        lines = (folder / "held-out" / "metadata.jsonl").read_text().splitlines()
        truth = [json.loads(line) for line in lines]
        photos = [folder / "held-out" / row["file_name"] for row in truth]
        before = captions(BASE, photos)
        best, seconds, busy, events = train(folder / "train", folder / "run", options.epochs)
        after = captions(best, photos)
    references = [[row["text"]] for row in truth]
    scores = metrics.compare(references, {"before": before, "after": after}, with_meteor=False).scores
    exact = {
        name: float(np.mean([text == row["text"] for text, row in zip(texts, truth, strict=True)]))
        for name, texts in (("before", before), ("after", after))
    }
    report = {
        "pictures": options.pictures,
        "held_out": HELD_OUT,
        "epochs": options.epochs,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(busy, 1),
        "steps": sum(event["event"] == "step" for event in events),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "word_for_word": exact,
        "metrics": {name: {key: asdict(one) for key, one in found.metrics.items()} for name, found in scores.items()},
        "samples": [
            {"truth": row["text"], "before": old, "after": new}
            for row, old, new in list(zip(truth, before, after, strict=True))[:6]
        ],
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(
        f"{options.pictures} drawn pictures, {options.epochs} epochs, {report['steps']} steps of 64: {seconds:.0f} s "
        f"with {report['threads']} threads ({busy:.0f} s of the CPU), start and evaluation included\n"
    )
    print(f"| {HELD_OUT} held-out scenes | before | after |\n|---|---|---|")
    print(f"| word for word | {exact['before']:.1%} | {exact['after']:.1%} |")
    for name in scores["before"].metrics:
        old, new = (scores[which].metrics[name] for which in ("before", "after"))
        print(
            f"| {metrics.LABELS[name]} | {old.value:.3f} ({old.low:.3f} to {old.high:.3f}) "
            f"| {new.value:.3f} ({new.low:.3f} to {new.high:.3f}) |"
        )
    for sample in report["samples"]:
        print(f"\ntruth:  {sample['truth']}\nbefore: {sample['before']}\nafter:  {sample['after']}")


if __name__ == "__main__":
    main()
