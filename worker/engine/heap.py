"""The C heap of a process that runs a model on the CPU."""

from __future__ import annotations

import ctypes
import platform
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_blocks() -> None:
    """Let glibc keep freed activations for the next layer instead of returning each to the system.

    Blocks over 32 MB would be mapped and zeroed anew every time: 2,000 to 6,000 page faults and 6 to 16 ms of system
    time a picture of BLIP-base, of 400 to 430 in all (one thread); kept, 0 to 3 ms. Not glibc: nothing happens.
    """
    if (library := _glibc()) is not None:
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def give_back() -> None:
    """Return what is free to the system, for a model that was unloaded."""
    if (library := _glibc()) is not None:
        library.malloc_trim(0)


def _glibc() -> Any:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
