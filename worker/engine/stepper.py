"""The two ways to run a decode step on a state: plainly, or as a recorded CUDA graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from blipq.worker.engine.state import State
from blipq.worker.engine.text import Text

BUCKETS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
GRAPH_COLUMNS = 32  # a graph attends over all columns: rounded up, so that few prompt lengths make new graphs


def bucket(pictures: int) -> int:
    """The least batch a graph is recorded for that holds so many pictures."""
    return next((size for size in BUCKETS if size >= pictures), pictures)


@dataclass
class Graphs:
    """Recorded steps of one state, one a bucket; each is recorded when it is first needed (about 0.1 s)."""

    recorded: dict[int, tuple[Any, Tensor]] = field(default_factory=dict)
    pool: Any = None

    def step(self, text: Text, state: State, pictures: int) -> Tensor:
        size = min(bucket(pictures), state.images)
        if size not in self.recorded:
            self.recorded[size] = self._record(text, state, size * state.beams)
        graph, logits = self.recorded[size]
        graph.replay()
        return logits[: pictures * state.beams]

    def forget(self) -> None:
        """Drop the recordings: they hold the addresses of a state that goes away."""
        self.recorded.clear()
        self.pool = None

    def _record(self, text: Text, state: State, rows: int) -> tuple[Any, Tensor]:
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):  # libraries choose their kernels and take their workspaces outside of the recording
                text.step(state, rows, state.columns)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            logits = text.step(state, rows, state.columns)
        self.pool = self.pool or graph.pool()
        return graph, logits


class Stepper:
    """A batch under way: which column comes next, how many pictures are left."""

    def __init__(self, text: Text, state: State, prompts: Tensor, padding: Sequence[int], graphs: Graphs | None):
        """`prompts` (B, P) on the device, any token where padded; row i is padded by `padding[i]` columns."""
        self.text, self.state, self.prompts, self.graphs = text, state, prompts, graphs
        self.pictures, self.prompt = prompts.shape
        self.column = self.prompt
        state.begin(padding, self.prompt)

    def begin(self) -> Tensor:
        """Run the prompts → logits (B, V); the beams of a picture are equal as yet."""
        logits = self.text.prompt(self.state, self.prompts)
        self.state.widen(self.pictures, self.prompt)
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Write one token a row (rows,) → logits (rows, V) of what follows."""
        rows = self.pictures * self.state.beams
        self.state.tokens[:rows, 0] = tokens
        self.state.open(self.column)
        self.column += 1
        if self.graphs is not None:
            return self.graphs.step(self.text, self.state, self.pictures)
        return self.text.step(self.state, rows, self.column)

    def reorder(self, sources: Tensor) -> None:
        """Row i goes on from row `sources[i]`."""
        self.state.reorder(sources, self.prompt, self.column)

    def worth_packing(self, finished: Sequence[bool]) -> bool:
        """Whether the next step gets cheaper without the finished pictures: with graphs only at the next bucket."""
        left = len(finished) - sum(finished)
        if self.graphs is not None:
            return bucket(left) < bucket(len(finished))
        return left < len(finished)

    def keep(self, wanted: Sequence[bool]) -> list[int]:
        """Drop pictures; returns the old places of those left, in their new order."""
        order = self.state.keep(wanted)
        self.pictures = len(order)
        return order
