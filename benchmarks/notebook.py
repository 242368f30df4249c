"""The well-known notebook's fine-tuning loop, written from its description: the contestant of `train.py`.

Image and text go through the processor in the Dataset, padded to the tokenizer's longest (512); the batch's ids are the
labels; [CLS] comes first; AdamW 5e-5 on everything, batch 2, fp32, or AMP with a scaler on a GPU. What is wrong with
it is told in docs/training.md; nothing is mended here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import AutoTokenizer, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

BATCH = 2
LR = 5e-5


class ImageCaptioningDataset(Dataset[dict[str, torch.Tensor]]):
    """A picture and its caption, processed."""

    def __init__(self, pairs: Sequence[tuple[Path, str]], processor: BlipProcessor) -> None:
        self.pairs, self.processor = pairs, processor

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        path, text = self.pairs[index]
        encoding = self.processor(
            images=Image.open(path).convert("RGB"), text=text, padding="max_length", return_tensors="pt"
        )
        return {name: tensor.squeeze() for name, tensor in encoding.items()}


class Notebook:
    """Model, processor and optimizer as the notebook has them."""

    def __init__(self, folder: Path, pairs: Sequence[tuple[Path, str]], device: str, lr: float = LR) -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=512)
        self.processor = BlipProcessor(BlipImageProcessorPil.from_pretrained(folder), tokenizer)
        self.model: Any = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)
        self.device = device
        self.amp = device.startswith("cuda")
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.amp)
        self.loader = DataLoader(ImageCaptioningDataset(pairs, self.processor), shuffle=True, batch_size=BATCH)

    def epochs(self) -> Iterator[float]:
        """Train without end; the loss of each step."""
        while True:
            for batch in self.loader:
                ids = batch.pop("input_ids").to(self.device)
                pixels = batch.pop("pixel_values").to(self.device)
                with torch.autocast("cuda", torch.float16, enabled=self.amp):
                    loss = self.model(input_ids=ids, pixel_values=pixels, labels=ids).loss
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.optimizer.zero_grad()
                yield loss.item()

    def captions(self, photos: Sequence[Path]) -> list[str]:
        """What the notebook prints at its end, one picture a call."""
        self.model.eval()
        texts = []
        for photo in photos:
            pixels = self.processor(images=Image.open(photo).convert("RGB"), return_tensors="pt").pixel_values
            ids = self.model.generate(pixel_values=pixels.to(self.device), max_length=50)
            texts.append(self.processor.batch_decode(ids, skip_special_tokens=True)[0])
        self.model.train()
        return texts
