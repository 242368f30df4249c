"""Why a model cannot caption. No torch here: a worker tells these apart before, and without, importing it."""

from __future__ import annotations


class NotACaptioner(Exception):
    """The folder holds no BLIP captioner that can be run; the message is one line that names what was found."""


class NotFetched(Exception):
    """A checkpoint could not be had from the Hub; the message is one line that says why and what to do."""


class OutOfMemory(Exception):
    """The device has no room for a batch of this size; everything of the batch was freed, so a smaller one may fit."""


_NO_ROOM = ("DefaultCPUAllocator", "out of memory", "could not allocate")
_HARM = ("CUDA error", "device-side assert", "CUBLAS_STATUS", "CUDNN_STATUS", "HIP error", "NCCL error")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: ours, Python's, or any of torch's."""
    if isinstance(error, (OutOfMemory, MemoryError)) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_ROOM)


def harms_device(error: BaseException) -> bool:
    """Whether a process cannot use its device after an error: CUDA's are of that kind, a Python exception is not."""
    return type(error).__name__ == "AcceleratorError" or any(words in str(error) for words in _HARM)
