"""Memory of the device that a model runs on: how much is free, and how much some work took at its peak."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blipq.worker.engine import heap


@dataclass
class Taken:
    """Filled when the work is over: what it took beyond what was held before; 0 where nobody can tell."""

    bytes: int = 0


def free(device: str) -> int | None:
    """Bytes that this process may still take on a device, with its own unused reserve; None where nobody can tell."""
    if device.startswith("cuda"):
        import torch

        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    if device == "cpu" and sys.platform == "linux":
        machine, container = _kilobytes(Path("/proc/meminfo"), "MemAvailable"), _container_free()
        return min((each for each in (machine, container) if each is not None), default=None)
    return None


@contextmanager
def peak(device: str) -> Iterator[Taken]:
    """Measure what a block takes on a device."""
    taken = Taken()
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield taken
        taken.bytes = torch.cuda.max_memory_allocated(device) - before
    elif device == "cpu" and sys.platform == "linux":
        before = _reset_peak()
        yield taken
        taken.bytes = max(0, (_kilobytes(Path("/proc/self/status"), "VmHWM") or 0) - before)
    else:
        yield taken


def _reset_peak() -> int:
    """Let this process's high-water mark begin anew (Linux: `5` into clear_refs); the bytes that it holds now.

    Freed blocks that the heap keeps are given back first: work that went into them would seem to take nothing.
    """
    heap.give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not allowed in some containers: the mark of all time then counts, and says less
        return _kilobytes(Path("/proc/self/status"), "VmHWM") or 0
    return _kilobytes(Path("/proc/self/status"), "VmRSS") or 0


def _container_free() -> int | None:
    """Bytes below the container's own limit (cgroup 2), what the page cache would give back included."""
    group = Path("/sys/fs/cgroup")
    try:
        limit = (group / "memory.max").read_text().strip()
        cached = re.search(r"^inactive_file (\d+)", (group / "memory.stat").read_text(), re.MULTILINE)
        used = int((group / "memory.current").read_text()) - int(cached[1] if cached else 0)
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used


def _kilobytes(table: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB", table.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
