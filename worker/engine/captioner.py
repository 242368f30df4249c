"""Pictures in, captions out: BLIP run by our own forward and decode loop. The worker's seam is `open_captioner`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blipq.worker.engine import beam, blip, greedy, heap
from blipq.worker.engine.decoding import Caption, Decoding
from blipq.worker.engine.errors import NotACaptioner, OutOfMemory, is_out_of_memory
from blipq.worker.engine.greedy import Written
from blipq.worker.engine.layers import Maker
from blipq.worker.engine.logits import Processors
from blipq.worker.engine.precision import DTYPES, pick_device, pick_precision
from blipq.worker.engine.preprocessing import Preprocessing
from blipq.worker.engine.state import State
from blipq.worker.engine.stepper import GRAPH_COLUMNS, Graphs, Stepper, bucket
from blipq.worker.engine.text import Text
from blipq.worker.engine.upload import Upload
from blipq.worker.engine.vision import Vision

__all__ = ["Caption", "Captioner", "Decoding", "NotACaptioner", "OutOfMemory", "Preprocessing", "open_captioner"]

CPU_PICTURES = 4  # at once through the picture tower: their activations stay in the cache


class Captioner:
    """A loaded model. One thread at a time."""

    def __init__(self, checkpoint: blip.Checkpoint, device: torch.device, precision: str) -> None:
        if device.type == "cpu":
            heap.keep_blocks()
        self.device = str(device)
        self.precision = precision
        self.preprocessing = checkpoint.preprocessing
        self.parameters = checkpoint.parameters
        config = checkpoint.model.config.text_config
        self._start, self._end, self._pad = config.bos_token_id, config.sep_token_id, config.pad_token_id
        self._tokenizer = checkpoint.tokenizer
        self._place, self._dtype = device, DTYPES[precision]
        make = Maker(device, self._dtype)
        self._vision = Vision(checkpoint.model.vision_model, checkpoint.preprocessing, make)
        self._text = Text(checkpoint.model.text_decoder, *self._vision.shape, make)
        self._upload = Upload(device)
        self._state: State | None = None
        self._graphs = Graphs() if device.type == "cuda" else None

    def caption(
        self,
        pixels: NDArray[np.uint8],
        prompts: Sequence[str],
        decoding: Decoding,
        seeds: Sequence[int],
    ) -> list[Caption]:
        """Caption pictures (B, H, W, 3) → B captions in their order.

        `prompts`: one a picture, "" for none, any mix of lengths. `seeds`: one a picture; what is drawn for a picture
        depends on its seed alone, not on the batch it is in. Raises OutOfMemory, and ValueError for pictures of another
        size than `preprocessing` says and for a prompt that leaves no room for `max_new_tokens`.
        """
        size = (self.preprocessing.height, self.preprocessing.width, 3)
        if pixels.dtype != np.uint8 or pixels.shape[1:] != size or not (len(pixels) == len(prompts) == len(seeds)):
            raise ValueError(
                f"{pixels.dtype} {pixels.shape}, {len(prompts)} prompts, {len(seeds)} seeds: "
                f"takes uint8 (B, {size[0]}, {size[1]}, 3) and B of each"
            )
        if not len(pixels):
            return []
        beginnings = [self._beginning(prompt, decoding) for prompt in prompts]
        with self._memory(), torch.inference_mode():
            written = self._write(pixels, beginnings, decoding, seeds)
        return [self._caption(beginning, words) for beginning, words in zip(beginnings, written, strict=True)]

    def warm_up(self, batch: int) -> float:
        """Run a batch of blank pictures, so that the first real one is not slower → seconds. Raises OutOfMemory."""
        began = time.perf_counter()
        blank = np.zeros((batch, self.preprocessing.height, self.preprocessing.width, 3), np.uint8)
        self.caption(blank, [""] * batch, Decoding(max_new_tokens=2, min_new_tokens=2), [0] * batch)
        return time.perf_counter() - began

    def close(self) -> None:
        """Give the device's memory back; nothing else may be called after."""
        del self._vision, self._text, self._state, self._graphs, self._upload
        if self._place.type == "cuda":
            torch.cuda.empty_cache()
        heap.give_back()

    def _beginning(self, prompt: str, decoding: Decoding) -> list[int]:
        """[DEC] and the prompt's tokens: what Hugging Face's `generate` makes of [CLS] prompt [SEP]."""
        words = self._tokenizer(prompt)["input_ids"][1:-1] if prompt.strip() else []
        tokens = [self._start, *words]
        room = self._text.places - decoding.max_new_tokens
        if len(tokens) > room:
            raise ValueError(f"a prompt of {len(words)} tokens: at most {room - 1} leave room for max_new_tokens")
        return tokens

    def _write(
        self, pixels: NDArray[np.uint8], beginnings: list[list[int]], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Written]:
        longest = max(map(len, beginnings))
        padding = [longest - len(tokens) for tokens in beginnings]
        history = self._rows(beginnings, padding, self._text.vocabulary)
        state = self._room(len(pixels), decoding.num_beams, longest + decoding.max_new_tokens)
        self._look(state, self._upload(pixels))
        stepper = Stepper(self._text, state, self._rows(beginnings, padding, self._pad), padding, self._graphs)
        processors = Processors(decoding, self._end, self._text.vocabulary)
        if decoding.num_beams > 1:
            return beam.write(stepper, history, decoding, processors)
        return greedy.write(stepper, history, decoding, processors, seeds)

    def _look(self, state: State, pixels: Tensor) -> None:
        some = CPU_PICTURES if self._place.type == "cpu" else len(pixels)
        for place in range(0, len(pixels), some):
            part = pixels[place : place + some]
            state.seen[place : place + len(part)] = self._vision(part)

    def _rows(self, beginnings: list[list[int]], padding: list[int], filler: int) -> Tensor:
        rows = [[filler] * count + tokens for tokens, count in zip(beginnings, padding, strict=True)]
        return torch.tensor(rows, device=self._place)

    def _room(self, images: int, beams: int, columns: int) -> State:
        """The state of the last batch where it is large enough: its memory is mapped, and graphs are recorded on it."""
        if self._state is None or not self._state.fits(images, beams, columns):
            if self._graphs is not None:
                images, columns = bucket(images), -(-columns // GRAPH_COLUMNS) * GRAPH_COLUMNS
                self._graphs.forget()
            self._state = None  # before the next is made: both together may not fit
            self._state = State(self._text.shape, images, beams, columns, self._place, self._dtype)
        return self._state

    def _caption(self, beginning: list[int], written: Written) -> Caption:
        text = self._tokenizer.decode([*beginning[1:], *written.tokens], skip_special_tokens=True)
        score = sum(written.log_probabilities) / len(written.log_probabilities)
        return Caption(text.strip(), score, tuple(written.tokens), cut=written.tokens[-1] != self._end)

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            yield
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = str(error)
        # Outside of the handlers: there the traceback still holds the batch's tensors.
        self._state = None
        if self._graphs is not None:
            self._graphs.forget()
        if self._place.type == "cuda":
            torch.cuda.empty_cache()
        raise OutOfMemory(message.splitlines()[0] if message else "no memory left")


def open_captioner(folder: str, device: str = "auto", precision: str = "auto") -> Captioner:
    """Load a local checkpoint onto a device.

    Raises NotACaptioner, one line that names what was found, and ValueError for a device or precision that does not
    exist here.
    """
    place = pick_device(device)
    chosen = pick_precision(precision, place)
    return Captioner(blip.load(Path(folder)), place, chosen)
