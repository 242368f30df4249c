"""Which device and which arithmetic."""

from __future__ import annotations

import platform

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(wanted: str) -> torch.device:
    """`auto` takes CUDA, then Apple's GPU, then the CPU. Raises ValueError when the device asked for is not there."""
    if wanted == "auto":
        wanted = "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        index = device.index or 0
        if index >= torch.cuda.device_count():
            raise ValueError(f"device {wanted}: torch sees {torch.cuda.device_count()} CUDA devices; use auto or cpu")
        return torch.device("cuda", index)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device mps: torch sees no Apple GPU; use auto or cpu")
    return device


def pick_precision(wanted: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`: for `auto` the fastest that the device computes natively.

    By capability and not by the clock, so that the same machine always gives the same captions. bf16 without the
    instructions for it is emulated and slower than fp32.
    """
    if wanted != "auto":
        if wanted not in DTYPES:
            raise ValueError(f"precision {wanted}: auto, fp32, bf16 or fp16")
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and _cpu_has_bf16():
        return "bf16"
    return "fp32"


def _cpu_has_bf16() -> bool:
    if platform.machine() in ("x86_64", "AMD64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return platform.system() == "Linux" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
