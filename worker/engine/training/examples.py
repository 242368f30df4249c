"""Captions as token ids, by the recipe that generation follows: [DEC] first, prompt and padding out of the loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from blipq.worker.engine.training.corpus import Photo
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.network import Network


@dataclass(frozen=True)
class Example:
    """One pair: a photo, and the ids [DEC], prompt, caption, [SEP] of which the first `given` are no target."""

    photo: int
    ids: tuple[int, ...]
    given: int

    @property
    def targets(self) -> int:
        """How many tokens the loss counts."""
        return len(self.ids) - self.given


@dataclass(frozen=True)
class Tokens:
    """A padded batch: inputs, which of them are present, which places are scored, and the targets of those."""

    inputs: torch.Tensor  # (pairs, places)
    present: torch.Tensor  # (pairs, places), 1 where no padding
    scored: torch.Tensor  # (pairs, places), bool
    targets: torch.Tensor  # (scored places,)


class Encoder:
    """Turns captions into examples for one network, prompt and longest length; counts what it cut."""

    def __init__(self, network: Network, prompt: str, max_length: int) -> None:
        self._tokenizer = network.tokenizer
        self._network = network
        self.prompt: list[int] = self._ids(prompt) if prompt else []
        self.max_length = min(max_length, network.positions)
        if len(self.prompt) + 3 > self.max_length:
            raise TrainingError("usage", f"the prompt leaves no room in {self.max_length} tokens: raise --max-length")
        self.cut: list[int] = []  # photos of which a caption was cut
        self.unknown: Counter[str] = Counter()
        self._words = 0

    def encode(self, photos: Sequence[Photo]) -> list[Example]:
        """One example a caption, in the photos' order; a caption that is cut gets no [SEP], as it does not end there.

        Raises TrainingError: the base model's vocabulary lacks most words of the captions.
        """
        examples = []
        for index, photo in enumerate(photos):
            for caption in photo.captions:
                ids = self._ids(caption)
                self._count(caption, ids)
                room = self.max_length - 1 - len(self.prompt)
                if len(ids) + 1 > room:
                    self.cut.append(index)
                    ids = ids[:room]
                else:
                    ids = [*ids, self._network.sep]
                given = 1 + len(self.prompt)
                examples.append(Example(index, (self._network.bos, *self.prompt, *ids), given))
        lacking = sum(self.unknown.values())
        if lacking * 2 > self._words:
            raise TrainingError(
                "usage",
                f"the base model has another vocabulary: it lacks {lacking:,} of the captions' {self._words:,} words "
                f"({', '.join(word for word, _ in self.unknown.most_common(5))}); choose another base",
            )
        return examples

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _count(self, caption: str, ids: Sequence[int]) -> None:
        words = caption.split()
        self._words += len(words)
        if self._tokenizer.unk_token_id in ids:
            self.unknown.update(word for word in words if self._tokenizer.unk_token_id in self._ids(word))


def collate(examples: Sequence[Example], pad: int, device: torch.device) -> Tokens:
    """Pad to the longest of the batch and mark what the loss counts."""
    places = max(len(example.ids) for example in examples) - 1
    inputs = np.full((len(examples), places), pad, dtype=np.int64)
    present = np.zeros((len(examples), places), dtype=np.int64)
    scored = np.zeros((len(examples), places), dtype=bool)
    targets: list[int] = []
    for row, example in enumerate(examples):
        length = len(example.ids) - 1
        inputs[row, :length] = example.ids[:-1]
        present[row, :length] = 1
        scored[row, example.given - 1 : length] = True
        targets += example.ids[example.given :]
    return Tokens(
        torch.from_numpy(inputs).to(device),
        torch.from_numpy(present).to(device),
        torch.from_numpy(scored).to(device),
        torch.tensor(targets, device=device),
    )


def order(count: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the pairs in an epoch: a function of seed and epoch, so that a resume finds its place."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def steps(count: int, batch: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
    """The pairs of each optimizer step of an epoch, `skip` steps left out; as many in each, give or take one.

    A rest of one pair at the end would be a step by that pair alone.
    """
    yield from np.array_split(order(count, seed, epoch), -(-count // batch))[skip:]
