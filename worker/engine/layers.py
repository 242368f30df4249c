"""Layers in the form that their device runs fastest."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

# oneDNN packs a weight for a number of rows; any number gave the same rate at 1 to 2,308 rows.
PACKED_FOR_ROWS = 577


class Linear:
    """`x @ weight.T + bias`, with the activation or the residual that follows fused where oneDNN can.

    Measured on two Zen 5 cores, bf16, the ViT's shapes: 800 GFLOP/s with a plain weight, 950 to 1,000 with a packed one
    and GELU for nothing; at 8 rows 25 against 42 GB/s of weights read. In fp32 210 against 440 GFLOP/s, since MKL
    leaves AVX-512 unused on AMD.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, packed: bool, activation: str = "") -> None:
        """`weight` (out, in) and `bias` (out) in the dtype to compute in, on the device."""
        self.bias = bias
        self.packed = packed
        self.fused = packed and activation == "gelu"
        self.activation: Callable[[Tensor], Tensor] | None = ACT2FN[activation] if activation else None
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS) if packed else weight

    def __call__(self, x: Tensor) -> Tensor:
        """(…, in) → (…, out)."""
        if self.packed:
            x = torch.ops.mkldnn._linear_pointwise(
                x, self.weight, self.bias, "gelu" if self.fused else "none", [], "none" if self.fused else ""
            )
        else:
            x = F.linear(x, self.weight, self.bias)
        return x if self.activation is None or self.fused else self.activation(x)

    def plus(self, x: Tensor, residual: Tensor) -> Tensor:
        """(…, in) → (…, out), the residual (…, out) added."""
        if self.packed:
            added: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.weight, self.bias, "add")
            return added
        return F.linear(x, self.weight, self.bias).add_(residual)


class Norm:
    """Layer norm over the last dimension; its statistics are in fp32 whatever the dtype."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.weight, self.bias, self.eps = weight, bias, eps

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class Maker:
    """Puts a loaded model's weights where, and in the form in which, they are run."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.packed = packs(device, dtype)

    def tensor(self, value: Tensor) -> Tensor:
        return value.detach().to(self.device, self.dtype).contiguous()

    def linear(self, weight: Tensor, bias: Tensor | None, activation: str = "") -> Linear:
        placed = None if bias is None else self.tensor(bias)
        return Linear(self.tensor(weight), placed, packed=self.packed, activation=activation)

    def same(self, module: nn.Linear, activation: str = "") -> Linear:
        return self.linear(module.weight, module.bias, activation)

    def side_by_side(self, *modules: nn.Linear, scaled: float = 1.0) -> Linear:
        """Several projections of one input as one product; the first, the queries, scaled."""
        first, *rest = modules
        weight = torch.cat([first.weight.detach() * scaled, *(module.weight.detach() for module in rest)])
        bias = torch.cat([first.bias.detach() * scaled, *(module.bias.detach() for module in rest)])
        return self.linear(weight, bias)

    def norm(self, module: nn.LayerNorm) -> Norm:
        return Norm(self.tensor(module.weight), self.tensor(module.bias), module.eps)


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this build of torch packs weights for that device and dtype (its compiler relies on the same calls)."""
    if device.type != "cpu" or dtype == torch.float16:
        return False
    try:
        probe = Linear(torch.eye(16, dtype=dtype), torch.ones(16, dtype=dtype), packed=True, activation="gelu")
        probe.plus(probe(torch.ones(2, 16, dtype=dtype)), torch.ones(2, 16, dtype=dtype))
    except (AttributeError, RuntimeError):
        return False
    return True
