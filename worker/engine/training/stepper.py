"""One optimizer step: micro-batches, accumulated gradients, clipping, AdamW; it steps back when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from blipq.worker.engine.training.checkpoint import Standing
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.examples import Example, collate
from blipq.worker.engine.training.network import Network, Precision
from blipq.worker.engine.training.objective import cross_entropy
from blipq.worker.engine.training.plan import Plan
from blipq.worker.engine.training.ranks import Ranks

# Picture features of some of this process's pairs, by their places in the step; with gradient where vision learns.
View = Callable[[slice], torch.Tensor]


@dataclass(frozen=True)
class Outcome:
    """Means a token over the whole step, and the gradient's norm before clipping."""

    loss: float
    unsmoothed: float
    tokens: int
    grad_norm: float
    halved: int  # how often memory ran out


class NonFinite(Exception):
    """Loss or gradient is no finite number; no weight was changed."""


class Stepper:
    """Network, optimizer and scaler of a run."""

    def __init__(self, network: Network, plan: Plan, precision: Precision, ranks: Ranks) -> None:
        self.network, self.plan, self.precision, self.ranks = network, plan, precision, ranks
        self.learning = network.learning()
        if not self.learning:
            raise TrainingError("usage", "nothing is left to learn: choose another --freeze")
        matrices = [weight for weight in self.learning.values() if weight.ndim >= 2]
        others = [weight for weight in self.learning.values() if weight.ndim < 2]
        groups = [{"params": matrices, "weight_decay": plan.weight_decay}, {"params": others, "weight_decay": 0.0}]
        fused = ranks.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.AdamW(groups, lr=plan.lr or 0.0, fused=fused)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=precision.name == "fp16")
        self.micro = max(1, -(-plan.batch_size // ranks.count))

    def step(self, examples: Sequence[Example], view: View, total: int, number: int, lr: float) -> Outcome:
        """Learn from this process's share of step `number`, whose pairs have `total` targets over all processes.

        Dropout draws from a generator seeded by run, step and process: a resume needs no generator's state.

        Raises NonFinite, and TrainingError when a single pair does not fit into memory.
        """
        halved = 0
        while True:
            self._seed(number)
            self.optimizer.zero_grad(set_to_none=True)
            agreed = self.ranks.sum(self._accumulate(examples, view, total))
            if not agreed[2]:
                break
            if self.micro == 1:
                raise TrainingError(
                    "memory",
                    "one pair alone does not fit: try --gradient-checkpointing, --freeze vision or --image-size",
                )
            self.micro //= 2
            halved += 1
            if self.ranks.device.type == "cuda":
                torch.cuda.empty_cache()
        loss, unsmoothed = agreed[0] / total, agreed[1] / total
        if not math.isfinite(loss):
            raise NonFinite
        return Outcome(loss, unsmoothed, total, self._update(lr), halved)

    def _accumulate(self, examples: Sequence[Example], view: View, total: int) -> list[float]:
        """Gradients of the whole share; summed loss, summed unsmoothed loss, and 1 when memory ran out."""
        sums = torch.zeros(2, device=self.ranks.device)  # read once a step: each reading waits for a GPU
        try:
            for start in range(0, len(examples), self.micro):
                part = slice(start, min(start + self.micro, len(examples)))
                tokens = collate(examples[part], self.network.pad, self.ranks.device)
                with self.precision.context():
                    scores = self.network.logits(view(part), tokens.inputs, tokens.present, tokens.scored)
                summed, plain = cross_entropy(scores, tokens.targets, self.plan.label_smoothing)
                torch.autograd.backward(self.scaler.scale(summed / total))
                sums += torch.stack((summed.detach(), plain))
            return [*sums.tolist(), 0.0]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return [0.0, 0.0, 1.0]

    def _update(self, lr: float) -> float:
        """Sum, unscale, clip, step; the gradient's norm."""
        self.ranks.sum_gradients(self.learning.values())
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.learning.values(), self.plan.clip or math.inf).item()
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise NonFinite
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm

    def _seed(self, number: int) -> None:
        state = np.random.SeedSequence([self.plan.seed, number, self.ranks.index]).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> 1))

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint needs beside the weights: moments and, with LoRA, the adapters, by parameter name."""
        tensors = {}
        for name, weight in self.learning.items():
            for moment, value in self.optimizer.state[weight].items():
                tensors[f"{moment}:{name}"] = value.detach()
            if self.plan.lora:
                tensors[f"adapter:{name}"] = weight.detach()
        return tensors

    def note(self, standing: Standing) -> Standing:
        """The standing with what the stepper itself would forget."""
        standing.micro = self.micro
        if self.scaler.is_enabled():
            scaler = self.scaler.state_dict()
            standing.scale, standing.grown = scaler["scale"], scaler["_growth_tracker"]
        return standing

    def restore(self, tensors: dict[str, torch.Tensor], standing: Standing) -> None:
        """Take back what `state` and `note` gave.

        Raises TrainingError: the checkpoint was made with other parameters learning.
        """
        for key, value in tensors.items():
            what, _, name = key.partition(":")
            weight = self.learning.get(name)
            if weight is None or (what != "step" and weight.shape != value.shape):
                raise TrainingError(
                    "usage", f"the checkpoint does not fit this plan ({name}): resume with the run's own plan"
                )
            if what == "adapter":
                weight.data.copy_(value)
            else:
                self.optimizer.state[weight][what] = value.to(weight.device)
        if standing.micro is not None:
            self.micro = min(self.micro, standing.micro)
        if self.scaler.is_enabled() and standing.scale is not None:
            kept = {**self.scaler.state_dict(), "scale": standing.scale, "_growth_tracker": standing.grown}
            self.scaler.load_state_dict(kept)


def out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the CPU's allocator, ran out of memory."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in text or "can't allocate memory" in text
