"""What a batch keeps on the device between two decode steps. Its tensors stay where they are: graphs replay on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """Of a text decoder: layers, heads, a head's width, a picture's tokens and their width."""

    layers: int
    heads: int
    width: int
    image_tokens: int
    image_width: int


class State:
    """Keys and values of up to `images` pictures with `beams` rows each; picture i has rows i·beams … (i+1)·beams - 1.

    `columns` are the places of prompt and caption. Prompts are padded on the left, so that every row writes its next
    token into the same column. What the picture tower saw is kept once a picture and shared by layers and beams: 0.9 MB
    in bf16 a picture of BLIP-base; self keys and values take 37 KB a row and column.
    """

    def __init__(self, shape: Shape, images: int, beams: int, columns: int, device: torch.device, dtype: torch.dtype):
        rows = images * beams
        self.shape, self.images, self.beams, self.columns = shape, images, beams, columns
        self.seen = torch.empty(images, shape.image_tokens, shape.image_width, device=device, dtype=dtype)
        # Zeros, not garbage: a masked place has weight 0, and 0 times an old NaN is NaN.
        of_rows = (2, shape.layers, rows, shape.heads, columns, shape.width)
        self.kv = torch.zeros(of_rows, device=device, dtype=dtype)
        self.bias = torch.empty(rows, 1, 1, columns, device=device, dtype=dtype)
        self.padding = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.tokens = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.column = torch.zeros(1, dtype=torch.long, device=device)
        self.padded = False

    def fits(self, images: int, beams: int, columns: int) -> bool:
        return self.images >= images and self.beams == beams and self.columns >= columns

    def begin(self, padding: Sequence[int], prompt: int) -> None:
        """Mask a new batch: row i has `padding[i]` columns of padding before its prompt, which ends at `prompt`."""
        rows = len(padding)
        self.padding.zero_()  # also of the rows that a graph runs beyond the batch: a stale one gives a wrong position
        self.padding[:rows, 0] = torch.tensor(padding, device=self.padding.device)
        self.padded = any(padding)
        self.bias.fill_(float("-inf"))
        places = torch.arange(prompt, device=self.bias.device)
        seen = places[None, :] >= self.padding[:rows]
        self.bias[:rows, 0, 0, :prompt] = torch.where(seen, 0.0, float("-inf")).to(self.bias.dtype)

    def widen(self, images: int, prompt: int) -> None:
        """After the prompt ran once a picture, give each of its beams a copy."""
        if self.beams == 1:
            return
        rows = images * self.beams
        for tensor, axis in ((self.kv[..., :prompt, :], 2), (self.bias, 0), (self.padding, 0)):
            tensor.narrow(axis, 0, rows).copy_(tensor.narrow(axis, 0, images).repeat_interleave(self.beams, axis))

    def open(self, column: int) -> None:
        """Let every row see that column."""
        self.bias[..., column] = 0.0
        self.column.fill_(column)

    def reorder(self, sources: Tensor, first: int, last: int) -> None:
        """Row i goes on from row `sources[i]` in the columns first … last - 1 (beams of one picture share the rest)."""
        part = self.kv[..., first:last, :]
        part.narrow(2, 0, len(sources)).copy_(part.index_select(2, sources))

    def keep(self, wanted: Sequence[bool]) -> list[int]:
        """Drop the pictures that are not wanted; the last ones move into the gaps, at 0.9 MB and their columns a move.

        Returns the old places of the pictures that are left, in their new order.
        """
        count = sum(wanted)
        order = list(range(count))
        movers = iter([place for place in range(count, len(wanted)) if wanted[place]])
        for gap in range(count):
            if wanted[gap]:
                continue
            mover = order[gap] = next(movers)
            self.seen[gap].copy_(self.seen[mover])
            to, source = (slice(place * self.beams, (place + 1) * self.beams) for place in (gap, mover))
            self.kv[:, :, to].copy_(self.kv[:, :, source])
            self.bias[to].copy_(self.bias[source])
            self.padding[to].copy_(self.padding[source])
        return order
