"""Fine-tuning against the well-known notebook's loop: what is learned, and how fast.

usage: python benchmarks/train.py [eight] [full] [frozen] [--device cpu] [--rounds 5] [--cpu-time] [--json]

eight   8 pairs, a tiny BLIP with random weights, 200 steps of 2 at 1e-3: how many captions come back word for word
full    a full-size BLIP-base with random weights, everything learns: pictures a second, steps alternating
frozen  the same with the vision tower frozen: features computed once, then epochs on kept ones; 50 epochs are
        extrapolated from the measured parts, checkpoints and validation left out on both sides

Pictures are 640 x 480 JPEGs on disk, captions 10 words (12 tokens). The notebook decodes and tokenises inside its loop,
blipq decodes ahead and keeps what fits; one process, in turn; medians. The share of a matrix product's rate is measured
in the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from notebook import BATCH, Notebook
from PIL import Image
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blipq.worker.engine.captioner import open_captioner
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.training.events import Event, Progress, Started, Step
from blipq.worker.engine.training.network import Network
from blipq.worker.engine.training.plan import Plan
from blipq.worker.engine.training.trainer import train

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (230, 220, 40),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "orange": (240, 140, 20),
    "purple": (140, 40, 160),
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PICTURES = 32
EPOCHS = 50
OURS = 8  # pairs a step: the default

Pairs = list[tuple[Path, str]]


def write_model(folder: Path, words: list[str], size: int, vision: dict[str, int], text: dict[str, int]) -> Path:
    """A stock BLIP with random weights; [DEC] follows the tokenizer's last id, as in the published ones."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), vocab_file=str(folder / "vocab.txt"))
    rows = len(SPECIAL) + len(words)
    ids = {"bos_token_id": rows, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0, "vocab_size": rows + 2}
    torch.manual_seed(0)
    config = BlipConfig(
        vision_config={**vision, "image_size": size, "initializer_range": 0.02},
        text_config={**text, **ids, "encoder_hidden_size": vision.get("hidden_size", 768)},
    )
    BlipForConditionalGeneration(config).save_pretrained(folder)
    BlipProcessor(BlipImageProcessorPil(size={"height": size, "width": size}), tokenizer).save_pretrained(folder)
    return folder


def write_pairs(folder: Path, drawn: list[tuple[Image.Image, str]], kind: str) -> Pairs:
    """A folder with metadata.jsonl, and its pairs."""
    folder.mkdir(parents=True)
    pairs = []
    with (folder / "metadata.jsonl").open("w") as file:
        for number, (picture, text) in enumerate(drawn):
            path = folder / f"{number:03}.{kind}"
            picture.save(path)
            file.write(json.dumps({"file_name": path.name, "text": text}) + "\n")
            pairs.append((path, text))
    return pairs


def eight(folder: Path) -> dict[str, Any]:
    """How many of eight captions each recipe reproduces after 200 steps."""
    words = ["a", "square", "on", "the", "left", "of", *COLOURS]
    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = write_model(
        folder / "tiny", words, 32, {**tower, "patch_size": 8}, {**tower, "max_position_embeddings": 512}
    )
    found: dict[str, list[int]] = {"blipq": [], "notebook": []}
    seconds: dict[str, list[float]] = {"blipq": [], "notebook": []}
    for seed in range(3):
        listed = list(combinations(COLOURS, 2))
        chosen = [listed[index] for index in np.random.default_rng(seed).permutation(len(listed))[:8]]
        drawn = [(_halves(*pair), f"a {pair[0]} square on the left of a {pair[1]} square") for pair in chosen]
        pairs = write_pairs(folder / f"eight-{seed}", drawn, "png")
        photos, truth = [path for path, _ in pairs], [text for _, text in pairs]
        torch.manual_seed(seed)
        contestant = Notebook(model, pairs, "cpu", lr=1e-3)
        running = contestant.epochs()
        began = time.perf_counter()
        for _ in range(200):
            next(running)
        seconds["notebook"].append((time.perf_counter() - began) / 200)
        found["notebook"].append(sum(map(str.__eq__, contestant.captions(photos), truth)))
        plan = _plan(model, photos[0].parent, folder / f"run-{seed}", epochs=EPOCHS, batch_size=2, lr=1e-3, seed=seed)
        events = list(train(plan))
        seconds["blipq"].append(statistics.median(event.seconds for event in events if isinstance(event, Step)))
        best = next(event.best_path for event in events[::-1] if hasattr(event, "best_path"))
        found["blipq"].append(sum(map(str.__eq__, _captions(Path(best), photos), truth)))
    return {"reproduced of 8": found, "ms a step": {who: [1000 * one for one in took] for who, took in seconds.items()}}


def speed(folder: Path, device: str, rounds: int, freeze: str, clock: Callable[[], float]) -> dict[str, Any]:
    """Seconds a picture of both loops, in turn."""
    words = [f"word{number}" for number in range(30_522 - len(SPECIAL))]
    model = folder / "base"
    if not model.exists():
        write_model(model, words, 384, {}, {"num_attention_heads": 12})
    random = np.random.default_rng(0)
    drawn = [(_photo(random), " ".join(random.choice(words, 10))) for _ in range(PICTURES)]
    pairs = write_pairs(folder / f"photos-{freeze}", drawn, "jpg")
    plan = _plan(model, pairs[0][0].parent, folder / f"run-{freeze}", epochs=10_000, freeze=freeze, devices=(device,))
    ours = train(plan)
    started, filling = _until_started(ours, clock)
    loop = Notebook(model, pairs, device).epochs()
    took: dict[str, list[float]] = {"blipq": [], "notebook": []}
    contestants: list[tuple[str, int, Callable[[], object]]] = [
        ("notebook", BATCH, lambda: next(loop)),
        ("blipq", OURS, lambda: next(event for event in ours if isinstance(event, Step))),
    ]
    for turn in range(rounds + 1):  # the first one pays for memory and kernels
        for name, pictures, step in contestants:
            _wait(device)
            began = clock()
            step()
            _wait(device)
            if turn:
                took[name].append((clock() - began) / pictures)
    median = {name: statistics.median(times) for name, times in took.items()}
    report: dict[str, Any] = {
        "precision": started.precision,
        "trainable": started.trainable,
        "seconds a picture": took,
        "median": median,
        "times as fast": median["notebook"] / median["blipq"],
    }
    if freeze == "vision":
        each = filling / PICTURES
        report["features, seconds a picture"] = each
        report["50 epochs, times as fast"] = EPOCHS * median["notebook"] / (each + EPOCHS * median["blipq"])
    else:
        network = Network.load(model)
        rate = gemm(device, started.precision, clock)
        report["GEMM, GFLOP/s"] = rate / 1e9
        report["share of the GEMM rate"] = 3 * forward(network, tokens=12) / median["blipq"] / rate
    ours.close()
    return report


def forward(network: Network, tokens: int) -> float:
    """Operations of a forward pass of one picture and a caption of so many tokens, by the published formulas."""
    vision, text = network.model.config.vision_config, network.model.config.text_config
    wide, deep, d, layers = vision.hidden_size, vision.num_hidden_layers, text.hidden_size, text.num_hidden_layers
    positions = (vision.image_size // vision.patch_size) ** 2 + 1
    tower = deep * (24 * positions * wide**2 + 4 * positions**2 * wide)
    patches = 2 * (positions - 1) * 3 * vision.patch_size**2 * wide
    cross = layers * 4 * positions * wide * d
    token = layers * (28 * d**2 + 4 * positions * d) + 2 * d * text.vocab_size + 2 * d**2
    return float(tower + patches + cross + tokens * token)


def gemm(device: str, precision: str, clock: Callable[[], float]) -> float:
    """Operations a second of the tower's own product, (8 x 577) x 768 x 3072."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    left, right = (
        torch.randn(8 * 577, 768, device=device, dtype=kind),
        torch.randn(3072, 768, device=device, dtype=kind),
    )
    times = []
    for _ in range(20):
        _wait(device)
        began = clock()
        torch.nn.functional.linear(left, right)
        _wait(device)
        times.append(clock() - began)
    return 2 * 8 * 577 * 768 * 3072 / statistics.median(times)


def _plan(model: Path, data: Path, out: Path, **changes: Any) -> Plan:
    values = {"validation": 0.0, "freeze": "none", "label_smoothing": 0.0, "schedule": "constant", "devices": ("cpu",)}
    return Plan(base=str(model), data=str(data), out=str(out), **{**values, **changes})


def _until_started(events: Iterator[Event], clock: Callable[[], float]) -> tuple[Started, float]:
    """The run up to its first step; seconds that went into features."""
    filling, last = 0.0, clock()
    for event in events:
        now = clock()
        if isinstance(event, Progress) and event.what == "picture features":
            filling += now - last
        last = now
        if isinstance(event, Started):
            return event, filling
    raise RuntimeError("the run did not start")


def _captions(model: Path, photos: list[Path]) -> list[str]:
    captioner = open_captioner(str(model), "cpu", "fp32")
    side = captioner.preprocessing.width, captioner.preprocessing.height
    pixels = np.stack([np.asarray(Image.open(photo).resize(side, Image.Resampling.BICUBIC)) for photo in photos])
    return [one.text for one in captioner.caption(pixels, [""] * len(photos), Decoding(), [0] * len(photos))]


def _halves(first: str, second: str) -> Image.Image:
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = COLOURS[first], COLOURS[second]
    return Image.fromarray(pixels)


def _photo(random: np.random.Generator) -> Image.Image:
    """640 x 480 with the detail of a photo, about 100 kB as a JPEG."""
    coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(coarse).astype(int) + random.integers(-8, 9, (480, 640, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> None:
    """Run what is asked for, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "eight", "full", "frozen"], help="all without a name")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="count this process's CPU seconds: for a busy machine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    parts = options.parts or ["eight", "full", "frozen"]
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else platform.processor(),
        "threads": torch.get_num_threads(),
        "rounds": options.rounds,
        "clock": "CPU seconds of the process" if options.cpu_time else "wall",
    }
    with tempfile.TemporaryDirectory(prefix="blipq-") as temporary:
        folder = Path(temporary)
        if "eight" in parts:
            report["eight"] = eight(folder)
        if "full" in parts:
            report["full"] = speed(folder, options.device, options.rounds, "none", clock)
        if "frozen" in parts:
            report["frozen"] = speed(folder, options.device, options.rounds, "vision", clock)
    print(json.dumps(report, indent=2) if options.json else table(report))


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    versions = f"torch {report['torch']}, transformers {report['transformers']}"
    lines = [f"{versions}, {report['threads']} threads, {report['device']}, {report['clock']}"]
    if "eight" in report:
        found, took = report["eight"]["reproduced of 8"], report["eight"]["ms a step"]
        lines += ["", "| 8 pairs, tiny BLIP, 200 steps | reproduced (3 seeds) | ms a step |", "|---|---|---|"]
        lines += [f"| {who} | {found[who]} | {statistics.median(took[who]):.1f} |" for who in found]
    for part, title in (("full", "everything learns"), ("frozen", "vision frozen, features kept")):
        if part not in report:
            continue
        got = report[part]
        head = f"| BLIP-base, {title}, {got['precision']} | s a picture | pictures/s |"
        lines += ["", head, "|---|---|---|"]
        lines += [f"| {who} | {each:.3f} | {1 / each:.2f} |" for who, each in got["median"].items()]
        lines += [f"{got['times as fast']:.1f} times as fast a step"]
        if part == "full":
            lines += [f"{got['share of the GEMM rate']:.0%} of the matrix rate, {got['GEMM, GFLOP/s']:.0f} GFLOP/s"]
        else:
            lines += [
                f"features once: {got['features, seconds a picture']:.3f} s a picture; "
                f"50 epochs: {got['50 epochs, times as fast']:.1f} times as fast (extrapolated)"
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
