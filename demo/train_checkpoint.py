"""The seeded script that trained `demo/checkpoint`: a stock BLIP, from random weights, on drawn scenes.

python -m blipq.demo.train_checkpoint --out FOLDER       # train; goes on where it stopped
python -m blipq.demo.train_checkpoint --evaluate FOLDER  # word-for-word share over 500 held-out scenes
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import string
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertTokenizerFast, BlipConfig, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from blipq.demo import football, things
from blipq.demo.pen import PALETTE
from blipq.demo.scenes import DOMAINS, draw

IMAGE_SIZE = 96
BATCH = 64
LEARNING_RATE = 1e-3
WARM_UP, PERIOD, COOL_DOWN = 300, 12_000, 1_500  # steps
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
HELD_OUT_SEED = 10_000_000  # far from the seeds of the training pictures


def words() -> list[str]:
    """Every word that a caption of either domain can hold, sorted."""
    texts = [*PALETTE, *things.THINGS, *things.PLURALS.values(), *things.RELATIONS, *things.PLACES]
    texts += [*things.COUNTS.values(), *things.HALF, "a", "an"]
    texts += [*football.EVENTS.values(), *football.KITS, *football.WEATHER]
    return sorted({word for text in texts for word in text.split() if word.isalpha()})


def build_processor(folder: Path) -> BlipProcessor:
    """A BLIP processor whose WordPiece vocabulary is the drawn domains' words, and letters to spell others with."""
    signs = [*string.ascii_lowercase, *string.digits]
    rest = [sign for sign in [*signs, *".,!?'-"] if sign not in words()]
    vocabulary = [*SPECIAL, *words(), *rest, *(f"##{sign}" for sign in signs)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast.from_pretrained(folder, do_lower_case=True, model_max_length=64)
    sizes = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return BlipProcessor(BlipImageProcessorPil(size=sizes), tokenizer)


def build_model(processor: BlipProcessor) -> BlipForConditionalGeneration:
    """A BLIP captioner of 1.8 million parameters; as in the published ones [DEC] follows the tokenizer's last id."""
    tokenizer = processor.tokenizer
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    config = BlipConfig(
        vision_config={
            **sizes,
            "num_hidden_layers": 4,
            "image_size": IMAGE_SIZE,
            "patch_size": 12,
            "initializer_range": 0.02,
        },
        text_config={
            **sizes,
            "num_hidden_layers": 3,
            "vocab_size": len(tokenizer) + 2,
            "max_position_embeddings": 64,
            "bos_token_id": len(tokenizer),
            "sep_token_id": tokenizer.sep_token_id,
            "eos_token_id": tokenizer.sep_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        projection_dim=128,
        image_text_hidden_size=128,
    )
    return BlipForConditionalGeneration(config)


def encode(processor: BlipProcessor, captions: list[str], bos: int) -> dict[str, torch.Tensor]:
    """Token ids, mask and labels, each (batch, longest): [DEC] first, padding left out of the loss."""
    tokens = processor.tokenizer(captions, padding="longest", return_tensors="pt")
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    ids[:, 0] = bos
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)}


def _draw_part(part: range) -> tuple[np.ndarray, list[str]]:
    pixels, captions = np.empty((len(part), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), []
    for row, seed in enumerate(part):
        scene = draw("scenes", seed)
        pixels[row] = np.asarray(scene.image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))
        captions.append(scene.caption)
    return pixels, captions


def draw_pool(folder: Path, count: int, workers: int) -> tuple[np.ndarray, list[str]]:
    """Training pictures (count, 96, 96, 3) uint8 on disk, with their captions; drawn once, 2 ms a picture."""
    pixels_file, captions_file = folder / f"pool-{count}.npy", folder / f"pool-{count}.json"
    if not captions_file.exists():
        pixels = np.lib.format.open_memmap(pixels_file, "w+", np.uint8, (count, IMAGE_SIZE, IMAGE_SIZE, 3))
        captions: list[str] = []
        parts = [range(start, min(start + 1000, count)) for start in range(0, count, 1000)]
        with ProcessPoolExecutor(workers) as pool:
            for part, (drawn, texts) in zip(parts, pool.map(_draw_part, parts), strict=True):
                pixels[part.start : part.stop] = drawn
                captions += texts
        pixels.flush()
        captions_file.write_text(json.dumps(captions), encoding="utf-8")
    return np.load(pixels_file, mmap_mode="r"), json.loads(captions_file.read_text(encoding="utf-8"))


def shifted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same pictures moved by up to 4 pixels each way, edges repeated."""
    padded = np.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="edge")
    moves = rng.integers(0, 9, (len(pixels), 2))
    return np.stack([p[y : y + IMAGE_SIZE, x : x + IMAGE_SIZE] for p, (y, x) in zip(padded, moves, strict=True)])


def word_for_word(model: BlipForConditionalGeneration, processor: BlipProcessor, domain: str, count: int) -> float:
    """The share of `count` held-out pictures whose caption the model gives exactly, by plain greedy `generate`."""
    right = 0
    for start in range(0, count, 100):
        scenes = [draw(domain, HELD_OUT_SEED + k, held_out=True) for k in range(start, min(start + 100, count))]
        pixels = processor(images=[scene.image for scene in scenes], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            ids = model.generate(pixel_values=pixels, max_new_tokens=30)
        texts = processor.batch_decode(ids, skip_special_tokens=True)
        right += sum(text == scene.caption for text, scene in zip(texts, scenes, strict=True))
    return right / count


def save(model: BlipForConditionalGeneration, processor: BlipProcessor, folder: Path) -> None:
    """Write the folder that `from_pretrained` reads: weights in fp16 on disk, fp32 once loaded."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: w.half() for name, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def _write_state(
    folder: Path,
    model: BlipForConditionalGeneration,
    mean: BlipForConditionalGeneration,
    optimizer: torch.optim.AdamW,
    step: int,
) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"mean.{k}": v for k, v in mean.state_dict().items()}
    moments = optimizer.state_dict()["state"]
    tensors |= {f"adam.{row}.{k}": v for row, state in moments.items() for k, v in state.items()}
    save_file({k: v.clone() for k, v in tensors.items()}, folder / "state.part", {"step": str(step)})
    (folder / "state.part").replace(folder / "state.safetensors")


def _read_state(
    folder: Path, model: BlipForConditionalGeneration, mean: BlipForConditionalGeneration, optimizer: torch.optim.AdamW
) -> int:
    with safe_open(folder / "state.safetensors", "pt") as file:
        step = int(file.metadata()["step"])
    tensors = load_file(folder / "state.safetensors")
    for prefix, module in (("model.", model), ("mean.", mean)):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam."):
            _, row, name = key.split(".")
            moments.setdefault(int(row), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    return step


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, a cosine that falls slowly, and straight down to zero over the last 1,500 steps."""
    slow = 0.5 + 0.5 * math.cos(math.pi * step / PERIOD)
    return LEARNING_RATE * min((step + 1) / WARM_UP, slow, slow * (steps - step) / COOL_DOWN)


def train(folder: Path, steps: int, pictures: int, seed: int, workers: int) -> None:
    """Train for `steps` batches of 64 and leave the mean weights in `folder/checkpoint`."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    processor = build_processor(folder / "checkpoint")
    model = build_model(processor)
    mean_model = copy.deepcopy(model).eval()
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, LEARNING_RATE, betas=(0.9, 0.98))
    first = _read_state(folder, model, mean_model, optimizer) if (folder / "state.safetensors").exists() else 0
    pixels, captions = draw_pool(folder, pictures, workers)
    images = processor.image_processor
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (images.image_mean, images.image_std))
    started, losses = time.monotonic(), 0.0
    for step in range(first, steps):
        rng = np.random.default_rng([seed, step])
        rows = np.sort(rng.integers(0, pictures, BATCH))
        batch = torch.from_numpy(shifted(pixels[rows], rng)).permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
        text = encode(processor, [captions[row] for row in rows], model.config.text_config.bos_token_id)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(pixel_values=batch, **text).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses += loss.item()
        keep = min(0.999, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(mean_model.parameters()), list(model.parameters()), 1 - keep)
        if (step + 1) % 500 == 0 or step + 1 == steps:
            share = word_for_word(mean_model, processor, "scenes", 200)
            line = {"step": step + 1, "loss": round(losses / 500, 4), "word_for_word": share}
            print(json.dumps(line | {"seconds": round(time.monotonic() - started)}), flush=True)
            losses = 0.0
            save(mean_model, processor, folder / "checkpoint")
            _write_state(folder, model, mean_model, optimizer, step + 1)


def main() -> None:
    """Read the command line; see the top of the file."""
    parser = argparse.ArgumentParser(
        prog="python -m blipq.demo.train_checkpoint", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--out", type=Path, help="folder for pictures, state and checkpoint")
    parser.add_argument("--evaluate", type=Path, metavar="FOLDER", help="print a checkpoint's figure and train nothing")
    parser.add_argument("--domain", default="scenes", choices=DOMAINS)
    parser.add_argument("--count", type=int, default=500, help="held-out pictures to evaluate on")
    parser.add_argument("--steps", type=int, default=7_500)
    parser.add_argument("--pictures", type=int, default=60_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.evaluate is not None:
        model = BlipForConditionalGeneration.from_pretrained(options.evaluate).eval()
        processor = BlipProcessor.from_pretrained(options.evaluate, backend="pil")
        share = word_for_word(model, processor, options.domain, options.count)
        print(f"{share:.1%} of {options.count} held-out {options.domain} captioned word for word")
    elif options.out is not None:
        train(options.out, options.steps, options.pictures, options.seed, options.threads)
    else:
        parser.error("--out FOLDER or --evaluate FOLDER")


if __name__ == "__main__":
    main()
