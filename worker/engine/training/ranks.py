"""The processes of a data-parallel run: torchrun starts them, sums go between them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from blipq.worker.engine.precision import pick_device

# A rank may wait for another's look at the pictures, or its captions at the end.
PATIENCE = timedelta(hours=12)


class RankLost(Exception):
    """Another process of the run ended: this one cannot go on, and whoever started both says why."""


def device_of(name: str) -> torch.device:
    """A device by its name, or a GPU by its number. Raises ValueError: there is none such."""
    try:
        return pick_device(f"cuda:{name}" if name.isdigit() else name)
    except RuntimeError:  # torch's word for a name that it does not know
        raise ValueError(f"device {name}: takes auto, cpu, mps, cuda:0 or a GPU's number") from None


class Ranks:
    """This process among all of the run; alone when torchrun did not start it."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.index = int(os.environ.get("RANK", "0"))
        if self.count != len(devices):
            raise ValueError(f"{len(devices)} devices and {self.count} processes: start them through `child`")
        self.device = device_of(devices[self.index])
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.count > 1:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=PATIENCE)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.index == 0

    def sum(self, values: list[float]) -> list[float]:
        """Sums of numbers over all processes."""
        if self.count == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        with _agreeing():
            dist.all_reduce(together)
        return list(together.tolist())

    def sum_gradients(self, weights: Iterable[torch.nn.Parameter]) -> None:
        """Sum gradients over all processes: one exchange of a flat buffer a step, whatever the accumulation.

        A process that had no pairs in this step takes part with zeros.
        """
        if self.count == 1:
            return
        learning = list(weights)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in learning]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        with _agreeing():
            dist.all_reduce(flat)
        for weight, part in zip(learning, torch.split(flat, [weight.numel() for weight in learning]), strict=True):
            weight.grad = part.view_as(weight)

    def gather(self, values: list[str]) -> list[str]:
        """All processes' texts, in the order of the processes."""
        if self.count == 1:
            return values
        parts: list[list[str]] = [[] for _ in range(self.count)]
        with _agreeing():
            dist.all_gather_object(parts, values)
        return [value for part in parts for value in part]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            with _agreeing():
                dist.barrier()

    def leave(self) -> None:
        """End the group; nothing is exchanged after it."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _agreeing() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL say what their sockets said
        raise RankLost(str(error)) from None
