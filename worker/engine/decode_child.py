"""One decode process: reads a request, opens and decodes the picture, answers; ends when its parent does.

Started by `DecodePool` as `python -P -m blipq.worker.engine.decode_child SHARED PIXELS BYTES MEMORY SECONDS` with its
socket as stdin and SHARED the number of an inherited descriptor of shared memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from blipq.worker.engine import wire
from blipq.worker.engine.picture import BadImage, Limits, Picture, Shape, decode, describe
from blipq.worker.engine.source import read_picture

Work = Callable[[bytes, Shape | None, Limits], wire.Answer]
Read = Callable[[bytes, int], bytes | BadImage]
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def answer(data: bytes, shape: Shape | None, limits: Limits) -> wire.Answer:
    """Decode, or without a shape only identify."""
    return decode(data, shape, limits) if shape else describe(data, limits)


def serve(work: Work = answer, read: Read = read_picture) -> None:
    """Answer requests until the parent closes the socket.

    `work` and `read` are the seams for decoders that crash, and storage that hangs, on purpose.
    """
    number, pixels, size, memory, seconds = sys.argv[1:6]
    limits = Limits(int(pixels), int(size), int(memory), float(seconds))
    shared = mmap.mmap(int(number), wire.SHARED)
    parent = socket.socket(fileno=os.dup(0))
    harden(limits)
    with suppress(ConnectionError), parent.makefile("rb") as requests:  # the parent is gone: so are we
        parent.sendall(wire.HELLO)
        answers = b""
        while len(head := requests.read(wire.REQUEST_SIZE)) == wire.REQUEST_SIZE:
            header = wire.unpack_request(head)
            shared[0] = wire.READING
            body = requests.read(header.length)
            answers += wire.pack_answer(_answer(body, header, shared, limits, work, read))
            shared[0] = wire.IDLE
            if header.last:
                parent.sendall(answers)
                answers = b""


def _answer(body: bytes, header: wire.Header, shared: mmap.mmap, limits: Limits, work: Work, read: Read) -> wire.Answer:
    try:
        data = read(body, limits.bytes) if header.by_path else body
        if isinstance(data, BadImage):
            return data
        shared[0] = wire.DECODING
        found = work(data, header.shape, limits)
    except MemoryError:
        return BadImage("memory", "takes more memory to decode than the limit allows")
    if isinstance(found, Picture):
        shared[header.start : header.start + found.pixels.nbytes] = found.pixels.tobytes()
    return found


def harden(limits: Limits) -> None:
    """Bound the memory, die with the parent, leave no core file, and let nothing but the parent's end stop the work."""
    with suppress(ValueError, OSError):  # macOS does not take RLIMIT_AS
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A terminal's Ctrl-C and a service manager's SIGTERM reach the whole group; the parent still wants its batch.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDWR)  # decoders' libraries print about every flaw
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


if __name__ == "__main__":
    serve()
