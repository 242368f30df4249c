"""A small BLIP with pretrained halves, fine-tuned on real photos: learned by heart, and stopped in time.

usage: python benchmarks/miniblip.py MODEL PHOTOS [--epochs 60] [--json]

MODEL   a BLIP folder; PHOTOS a folder with metadata.jsonl: a fifth is held out.
by heart   patience off, no smoothing, lr 2e-4: the share of training captions that the last checkpoint writes back
defaults   nothing set: early stop, and whether it ended at the minimum of the validation loss
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from football import captions

from blipq.worker.engine.training import checkpoint
from blipq.worker.engine.training.corpus import Corpus, Photo
from blipq.worker.engine.training.events import Done, Epoch, Evaluation, Started
from blipq.worker.engine.training.material import PAIRS
from blipq.worker.engine.training.plan import Plan
from blipq.worker.engine.training.trainer import train


def run(model: Path, photos: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Train; epochs, end and scores."""
    began = time.perf_counter()
    plan = Plan(base=str(model), data=str(photos), out=str(out), validation=0.2, devices=("cpu",), **changes)
    events = list(train(plan))
    epochs = [event for event in events if isinstance(event, Epoch)]
    losses = [event.validation_loss for event in epochs if event.validation_loss is not None]
    done = next(event for event in events if isinstance(event, Done))
    started = next(event for event in events if isinstance(event, Started))
    corpus = Corpus.read(out / PAIRS)
    last = checkpoint.checkpoints(out)[-1]
    return {
        "plan": started.plan,
        "precision": started.precision,
        "seconds": time.perf_counter() - began,
        "reason": done.reason,
        "epochs": len(epochs),
        "best_epoch": 1 + losses.index(min(losses)),
        "validation_losses": losses,
        "training_losses": [event.loss for event in epochs],
        "kept_is_minimum": done.best_step == epochs[losses.index(min(losses))].step,
        "reproduced": {
            "training, last checkpoint": _share(last, photos, corpus.train),
            "held out, best checkpoint": _share(Path(done.best_path), photos, corpus.validation),
        },
        "cider_d": {
            event.model: event.metrics["cider_d"]["value"] for event in events if isinstance(event, Evaluation)
        },
    }


def _share(model: Path, folder: Path, photos: tuple[Photo, ...]) -> float:
    """The share of photos whose caption comes back word for word, case and white space apart."""
    texts = captions(model, [folder / photo.name for photo in photos])
    tokenized = [{_plain(caption) for caption in photo.captions} for photo in photos]
    return sum(_plain(text) in known for text, known in zip(texts, tokenized, strict=True)) / len(photos)


def _plain(text: str) -> str:
    """As the tokenizer spells it: lower case, signs apart or not."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def main() -> None:
    """Both runs, as a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="blipq-") as temporary:
        folder = Path(temporary)
        shared = {"cache": str(folder / "features")}
        report = {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "defaults": run(options.model, options.photos, folder / "defaults", **shared),
            "by heart": run(
                *(options.model, options.photos, folder / "heart"),
                **shared,
                epochs=options.epochs,
                patience=0,
                lr=2e-4,
                label_smoothing=0.0,
            ),
        }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print("| | by heart | defaults |\n|---|---|---|")
    heart, default = report["by heart"], report["defaults"]
    for name, what in (
        ("seconds", lambda one: f"{one['seconds']:.0f}"),
        ("ended since", lambda one: one["reason"]),
        ("epochs", lambda one: one["epochs"]),
        ("epoch of the lowest validation loss", lambda one: one["best_epoch"]),
        ("the kept checkpoint is that one", lambda one: one["kept_is_minimum"]),
        ("training captions written back", lambda one: f"{one['reproduced']['training, last checkpoint']:.0%}"),
        ("CIDEr-D held out, base", lambda one: f"{one['cider_d']['base']:.3f}"),
        ("CIDEr-D held out, tuned", lambda one: f"{one['cider_d']['tuned']:.3f}"),
    ):
        print(f"| {name} | {what(heart)} | {what(default)} |")


if __name__ == "__main__":
    main()
