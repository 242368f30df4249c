"""A BLIP captioner's folder, opened by transformers: local files, safetensors, no code of the checkpoint's own."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, BlipConfig, BlipForConditionalGeneration
from transformers.utils import logging as transformers_logging

from blipq.worker.engine import preprocessing
from blipq.worker.engine.checkpoint import check, one_line
from blipq.worker.engine.errors import NotACaptioner
from blipq.worker.engine.preprocessing import Preprocessing


@dataclass(frozen=True)
class Checkpoint:
    """What a folder held: the model on the CPU in fp32, its tokenizer, how its pictures are made."""

    model: Any
    tokenizer: Any
    preprocessing: Preprocessing
    parameters: int


def load(folder: Path) -> Checkpoint:
    """Load a folder. Raises NotACaptioner for anything that is no whole BLIP captioner in safetensors."""
    check(folder)
    if not any(folder.glob("*.safetensors")):
        others = ", ".join(sorted(path.name for path in folder.glob("*.bin"))) or "no weights at all"
        raise NotACaptioner(f"{folder}: no safetensors in it ({others})")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        # transformers would make one up that knows no words.
        raise NotACaptioner(f"{folder}: no tokenizer in it (tokenizer.json or vocab.txt)")
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = BlipConfig.from_pretrained(folder, local_files_only=True)
            model, report = BlipForConditionalGeneration.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        pictures = preprocessing.read(folder, config.vision_config.image_size)
    except Exception as error:  # transformers, tokenizers and safetensors raise all sorts on a broken file
        raise NotACaptioner(f"{folder}: cannot be loaded ({one_line(error)})") from None
    wrong = [*report["missing_keys"], *(str(entry[0]) for entry in report["mismatched_keys"])]
    if wrong:
        raise NotACaptioner(f"{folder}: {len(wrong)} weights are missing or misshapen, {sorted(wrong)[0]} the first")
    model.eval().requires_grad_(False)
    return Checkpoint(model, tokenizer, pictures, model.num_parameters())
