"""A decode process whose decoder obeys the picture: `segfault`, `killed`, `hog`, `hang`, `once PATH`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from blipq.worker.engine import decode_child
from blipq.worker.engine.picture import BadImage, Limits, Shape
from blipq.worker.engine.source import read_picture
from blipq.worker.engine.wire import Answer


def work(data: bytes, shape: Shape | None, limits: Limits) -> Answer:
    if data.startswith(b"segfault"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.startswith(b"killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if data.startswith(b"hog"):
        bytearray(8_000_000_000)
    if data.startswith(b"hang"):
        time.sleep(600)
    if data.startswith(b"once "):
        mark = Path(os.fsdecode(data[5:]))
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
    return decode_child.answer(data, shape, limits)


def read(path: bytes, limit: int) -> bytes | BadImage:
    if path.endswith(b"stale-mount"):
        time.sleep(600)
    return read_picture(path, limit)


if __name__ == "__main__":
    decode_child.serve(work, read)
