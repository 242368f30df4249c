"""The model card of a fine-tuned checkpoint: base, data, recipe and what was measured, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blipq import __version__
from blipq.models.runs import RunStatus
from blipq.models.training import Run
from blipq.models.weights import Weights

# Hyper-parameters in the order in which people ask for them.
RECIPE = (
    "epochs", "lr", "schedule", "warmup", "batch_size", "accumulation", "weight_decay", "clip", "label_smoothing",
    "precision", "freeze", "lora", "lora_r", "lora_alpha", "lora_dropout", "prompt", "image_size", "max_length",
    "augment", "patience", "validation", "seed",
)  # fmt: skip


def write(
    name: str, found: Weights, status: RunStatus, run: Run, figures: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> str:
    """The card as Markdown with the Hub's front matter. `figures`: model, metric, row with value, low, high."""
    base, data = _public(run.base), _public(run.data)
    step = int(found.pinned.rpartition("@")[2])
    head = ["---", "library_name: transformers", "pipeline_tag: image-to-text", "tags:", "- blip", "- image-captioning"]
    if _is_hub(run.base):
        head += [f"base_model: {base.partition('@')[0]}"]
    if _is_hub(run.data):
        head += ["datasets:", f"- {data.partition('@')[0]}"]
    head += ["---", ""]
    body = [
        f"# {name}",
        "",
        f"`{base}` fine-tuned on `{data}` ({status.pictures or 0:,} pictures learned from), "
        f"step {step} of {status.steps or 0:,}, with blipq {__version__}.",
        "",
        "```python",
        "from transformers import BlipForConditionalGeneration, BlipProcessor",
        "",
        f'model = BlipForConditionalGeneration.from_pretrained("{name}")',
        f'processor = BlipProcessor.from_pretrained("{name}")',
        "```",
        "",
        "## Recipe",
        "",
        "| hyper-parameter | value |",
        "|---|---|",
    ]
    left_out = {key for key in RECIPE if key.startswith("lora_") and not run.plan.get("lora")}
    body += [
        f"| {key} | {run.plan[key]} |"
        for key in RECIPE
        if key not in left_out and run.plan.get(key) not in (None, "", False)
    ]
    body += ["", "## Measured", ""]
    body += _measured(run, base, figures, best=status.best_step, step=step) or [
        "Nothing was measured: no pictures were held out of this run."
    ]
    body += ["", f"Weights: `{found.id}`.", ""]
    return "\n".join(head + body)


def _measured(
    run: Run, base: str, figures: Mapping[str, Mapping[str, Mapping[str, Any]]], *, best: int | None, step: int
) -> list[str]:
    before, after = figures.get(run.base, {}), figures.get(f"run:{run.id}", {})
    if not after:
        return []
    pictures = next(iter(after.values()))["pictures"]
    rows = [
        f"Greedy captions of {pictures:,} held-out pictures, COCO's metrics, with 95 % bootstrap intervals. "
        "The best checkpoint was chosen on these pictures.",
        *([f"They are those of step {best}, not of this one."] if best != step else []),
        "",
        f"| metric | {base} | this model |",
        "|---|---|---|",
    ]
    return rows + [f"| {name} | {_figure(before.get(name))} | {_figure(after[name])} |" for name in after]


def _figure(row: Mapping[str, Any] | None) -> str:
    return "" if row is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def _is_hub(name: str) -> bool:
    return "/" in name and not name.startswith("/") and ":" not in name


def _public(name: str) -> str:
    """A name without the folders of this machine."""
    return Path(name).name if name.startswith("/") else name
