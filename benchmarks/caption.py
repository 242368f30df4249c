"""Files to captions in one process: blipq's engine beside the usual ways to run BLIP.

    .venv/bin/python benchmarks/caption.py --model FOLDER [--device cpu|cuda:0] [--batch N] [--beams N] [--single]
                                           [--rows] [--pictures 16] [--tokens 12] [--repeats 5] [--json]

The contestants take turns on the same files, medians of `--repeats`. Hugging Face runs at the best of a few batch
sizes, blipq at `--batch`. A matrix product of the picture tower's shape is timed in the same rounds, and the last line
gives the model part's share of its rate. `--rows` adds the whole machine: `blipq enqueue --wait` against a warm daemon,
files to committed rows, each of them counted; the others are compared with that then. FOLDER is a checkpoint of any
size; random weights of BLIP-base's size do. On a machine that others use too, `--cpu-time` compares one thread's CPU
seconds instead of the wall clock.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from contestants import DTYPES, LIMITS, Contestant, HuggingFace, blipq_engine, data_loader, generate, notebook
from PIL import Image
from rows import Daemon

from blipq.worker.engine.captioner import Captioner, Decoding, open_captioner
from blipq.worker.engine.layers import Linear, packs
from blipq.worker.engine.picture import Shape, decode
from blipq.worker.engine.precision import pick_device

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos"
BATCHES = {"cpu": (4, 8, 16), "cuda": (64, 128, 256, 512), "mps": (8, 16, 32)}
CPU_TIME = False
GEMM_ROWS = {"cpu": 4 * 577, "cuda": 256 * 577, "mps": 16 * 577}


def pictures(folder: Path, count: int) -> list[Path]:
    """640 x 480 JPEGs of quality 90, from real photos where they are at hand, else drawn."""
    sources = sorted(PHOTOS.glob("*.jpg")) if PHOTOS.is_dir() else []
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        if sources:
            image = Image.open(sources[number % len(sources)]).convert("RGB")
        else:
            image = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        paths.append(folder / f"{number:04d}.jpg")
        image.resize((640, 480), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def flop(config: Any, tokens: int, beams: int) -> float:
    """Multiplications and additions that a picture needs, in FLOP; keys and values of a picture counted once."""
    vision, text = config.vision_config, config.text_config
    places = (vision.image_size // vision.patch_size) ** 2
    n, dv, d, layers = places + 1, vision.hidden_size, text.hidden_size, text.num_hidden_layers
    tower = vision.num_hidden_layers * (n * (8 * dv**2 + 4 * dv * vision.intermediate_size) + 4 * n**2 * dv)
    patches = 2 * places * 3 * vision.patch_size**2 * dv
    cross = layers * 4 * n * dv * d
    token = layers * (12 * d**2 + 4 * d * text.intermediate_size + 4 * n * d) + 2 * d * text.vocab_size + 2 * d**2
    return float(tower + patches + cross + tokens * beams * token)


def done(config: Any, tokens: int, beams: int) -> float:
    """FLOP that blipq computes instead: no image keys and values, but heads that look at the picture's tokens."""
    vision, text = config.vision_config, config.text_config
    n, dv = (vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size
    d, layers = text.hidden_size, text.num_hidden_layers
    spared = layers * 4 * n * dv * d
    token = layers * (4 * text.num_attention_heads * n * dv + 4 * dv * d - 4 * n * d)
    return flop(config, tokens, beams) - spared + tokens * beams * token


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """Wall time of one call, the device's work included; CPU time under `--cpu-time`."""
    clock = time.process_time if CPU_TIME else time.perf_counter
    began = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


class Gemm:
    """A product of the picture tower's shape: plain as torch gives it, and with a packed weight as blipq runs it."""

    def __init__(self, device: torch.device, precision: str, width: int) -> None:
        dtype = DTYPES[precision]
        self.device, rows, wide = device, GEMM_ROWS[device.type], 4 * width
        self.flop = 2.0 * rows * width * wide
        self.x = torch.randn(rows, width, device=device, dtype=dtype)
        weight = torch.randn(wide, width, device=device, dtype=dtype)
        self.forms = {"plain": Linear(weight, None, packed=False)}
        if packs(device, dtype):
            self.forms["packed"] = Linear(weight, None, packed=True)

    def rates(self) -> dict[str, float]:
        """FLOP/s of each form, the best of five: what the machine gives in this minute."""
        with torch.inference_mode():
            times = {
                name: min(seconds(lambda form=form: form(self.x), self.device) for _ in range(5))  # type: ignore[misc]
                for name, form in self.forms.items()
            }
        return {name: self.flop / value for name, value in times.items()}


def stages(captioner: Captioner, paths: Sequence[Path], batch: int, beams: int, tokens: int) -> dict[str, float]:
    """Milliseconds a picture of one batch, stage by stage; the loop is what is left of the whole call."""
    device = torch.device(captioner.device)
    some = list(paths[:batch])
    shape = captioner.preprocessing
    wanted = Shape(shape.height, shape.width, Image.Resampling(shape.resample))
    data = [path.read_bytes() for path in some]
    decoding = seconds(lambda: [decode(one, wanted, LIMITS) for one in data], device)
    pixels = np.stack([decode(one, wanted, LIMITS).pixels for one in data])  # type: ignore[union-attr]
    asked = Decoding(num_beams=beams, min_new_tokens=tokens, max_new_tokens=tokens)
    whole = seconds(lambda: captioner.caption(pixels, [""] * len(some), asked, [0] * len(some)), device)
    with torch.inference_mode():
        copy = seconds(lambda: captioner._upload(pixels), device)
        uploaded = captioner._upload(pixels)
        looking = seconds(lambda: captioner._look(captioner._state, uploaded), device)
    parts = {"decode": decoding, "copy": copy, "ViT and image keys": looking, "decode loop": whole - copy - looking}
    return {name: 1000 * value / len(some) for name, value in parts.items()}


def best_batch(hf: HuggingFace, sizes: Sequence[int], beams: int, paths: Sequence[Path]) -> Contestant:
    """Hugging Face at the batch size at which it is fastest on these files (after one call to warm up)."""
    tried = {}
    for size in sizes:
        contestant = generate(hf, size, beams)
        some = paths[: max(size, 1)]
        contestant.run(some[: min(2, len(some))])
        tried[size] = seconds(lambda c=contestant, s=some: c.run(s), torch.device(hf.device)) / len(some)  # type: ignore[misc]
    return generate(hf, min(tried, key=tried.__getitem__), beams)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, help="blipq's; 32 on a CPU, 256 elsewhere")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--pictures", type=int, help="files; one batch, or two")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--single", action="store_true", help="one picture a call, blipq against Hugging Face")
    parser.add_argument("--rows", action="store_true", help="also `blipq enqueue --wait`, files to committed rows")
    parser.add_argument("--only", help="besides blipq, by name or name and precision: 'notebook loop;HF generate bf16'")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cpu-time", action="store_true", help="one thread's CPU seconds, not the wall clock")
    options = parser.parse_args()
    if options.rows and options.cpu_time:
        parser.error("--rows: the daemon's time is not this process's; leave --cpu-time out")
    if options.cpu_time:
        global CPU_TIME
        CPU_TIME = True
        torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    device = pick_device(options.device)
    began = time.perf_counter()
    captioner = open_captioner(options.model, str(device), options.precision)
    opened = time.perf_counter() - began
    batch = 1 if options.single else options.batch or (32 if device.type == "cpu" else 256)
    warm = captioner.warm_up(batch)
    count = options.pictures or (8 if options.single else max(16, batch))
    config = transformers.BlipConfig.from_pretrained(options.model)
    need = flop(config, options.tokens, options.beams)
    gemm = Gemm(device, captioner.precision, config.vision_config.hidden_size)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        paths = pictures(Path(folder), count)
        contestants = line_up(options, captioner, batch, paths, stack)
        times: list[list[float]] = [[] for _ in contestants]
        rates: list[dict[str, float]] = []
        tokens = [one.run(paths) for one in contestants]  # also the warm-up
        parts: list[dict[str, float]] = []
        for _ in range(options.repeats):
            rates.append(gemm.rates())
            for place, one in enumerate(contestants):
                times[place].append(seconds(lambda one=one: one.run(paths), device) / count)  # type: ignore[misc]
            parts.append(stages(captioner, paths, batch, options.beams, options.tokens))

    rate = {name: statistics.median(each[name] for each in rates) for name in rates[0]}
    ours = statistics.median(times[-1])
    stage = {name: statistics.median(each[name] for each in parts) for name in parts[0]}
    engine = next(place for place, one in enumerate(contestants) if one.name == "blipq")
    model = statistics.median(times[engine]) - stage["decode"] / 1000
    report = {
        "setting": {
            **{"model": options.model, "parameters": captioner.parameters, "device": captioner.device},
            **{"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
            **{"gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None},
            **{"precision": captioner.precision, "beams": options.beams, "tokens": options.tokens, "pictures": count},
            **{
                "clock": "cpu" if CPU_TIME else "wall",
                "megapixels": 0.31,
                "repeats": options.repeats,
                "load_s": opened,
                "warm_up_s": warm,
            },
            **{"load_average": os.getloadavg()[0], "python": platform.python_version(), "torch": torch.__version__},
            **{"transformers": transformers.__version__, "gflop_a_picture": need / 1e9},
            **{"gflop_computed": done(config, options.tokens, options.beams) / 1e9},
        },
        "gemm_gflops": {name: value / 1e9 for name, value in rate.items()},
        "contestants": [
            {
                **{"name": one.name, "precision": one.precision, "batch": one.batch},
                **{"ms_a_picture": 1000 * statistics.median(each), "ms_all": [1000 * value for value in each]},
                **{"blipq_is_faster": statistics.median(each) / ours},
                **{"same_tokens": alike(found, tokens[0])},
            }
            for one, each, found in zip(contestants, times, tokens, strict=True)
        ],
        "blipq_stages_ms": stage,
        "blipq_model_share_of_gemm": {name: need / model / value for name, value in rate.items()},
    }
    print(json.dumps(report) if options.json else table(report))


def line_up(
    options: argparse.Namespace, captioner: Captioner, batch: int, paths: Sequence[Path], stack: ExitStack
) -> list[Contestant]:
    """Who takes part, blipq's ways last; nothing is loaded for those that `--only` leaves out."""
    device, precision, beams, tokens = captioner.device, captioner.precision, options.beams, options.tokens
    sizes = (1,) if options.single else BATCHES[torch.device(device).type]
    hugging_face = functools.cache(lambda precision: HuggingFace(options.model, device, precision, tokens))
    best = functools.cache(lambda precision: best_batch(hugging_face(precision), sizes, beams, paths))
    ways: dict[tuple[str, str], Callable[[], Contestant]] = {
        ("notebook loop", "fp32"): lambda: notebook(hugging_face("fp32"), beams)
    }
    if not options.single and not options.rows:
        ways["HF generate", "fp32"] = lambda: best("fp32")
    if precision != "fp32":
        ways["HF generate", precision] = lambda: best(precision)
        if not options.single and not options.rows and not CPU_TIME:  # its workers' time would not be seen
            ways["DataLoader script", precision] = lambda: data_loader(
                hugging_face(precision), best(precision).batch, beams
            )
    ways["blipq", precision] = lambda: blipq_engine(captioner, batch, beams, tokens)
    if options.rows:
        daemon = Daemon(options.model, device, precision, batch, beams, tokens)
        ways["blipq, to rows", precision] = stack.enter_context(daemon).contestant
    if options.only:
        asked = {"blipq", "blipq, to rows", *options.only.split(";")}
        ways = {way: make for way, make in ways.items() if way[0] in asked or " ".join(way) in asked}
    return [make() for make in ways.values()]


def alike(found: Sequence[Any], first: Sequence[Any]) -> float | None:
    """The share of pictures with the first contestant's tokens; None where no tokens came back."""
    return sum(a == b for a, b in zip(found, first, strict=True)) / len(first) if found else None


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    setting = report["setting"]
    lines = [
        f"{setting['parameters'] / 1e6:.0f} M parameters on {setting['gpu'] or setting['device']}, "
        f"{setting['beams']} beams, {setting['tokens']} tokens, {setting['pictures']} JPEGs of 640x480",
        f"median of {setting['repeats']}, {setting['clock']} time; torch {setting['torch']}, transformers "
        f"{setting['transformers']}, {setting['threads']} threads, load {setting['load_average']:.1f}",
        f"{'contestant':<20}{'precision':>10}{'batch':>7}{'ms a picture':>14}{'blipq is':>10}{'same tokens':>13}",
    ]
    lines += [
        f"{row['name']:<20}{row['precision']:>10}{row['batch']:>7}{row['ms_a_picture']:>14.1f}"
        f"{row['blipq_is_faster']:>9.2f}x{'-' if row['same_tokens'] is None else format(row['same_tokens'], '.0%'):>12}"
        for row in report["contestants"]
    ]
    lines.append("blipq, ms a picture: " + ", ".join(f"{k} {v:.1f}" for k, v in report["blipq_stages_ms"].items()))
    lines.append("GEMM, GFLOP/s: " + ", ".join(f"{k} {v:.0f}" for k, v in report["gemm_gflops"].items()))
    shares = ", ".join(f"{v:.0%} of {k}" for k, v in report["blipq_model_share_of_gemm"].items())
    lines.append(
        f"blipq's model part, counted as the {setting['gflop_a_picture']:.0f} GFLOP a picture that BLIP is defined by, "
        f"runs at {shares} ({setting['gflop_computed']:.0f} GFLOP are computed)"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
