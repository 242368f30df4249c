"""Files that are there whole or not at all: written aside under a hidden name, then renamed."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_count = itertools.count()


def aside(path: bytes) -> bytes:
    """A hidden name in the same folder that no other process uses."""
    return os.path.join(os.path.dirname(path), b".blipq-%d-%d" % (os.getpid(), next(_count)))


def write(path: bytes, data: bytes) -> None:
    """Make `data` the content of a file, whatever was there. Raises OSError; then the old content stands."""
    hidden = aside(path)
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as opened:
            opened.write(data)
        os.replace(hidden, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(hidden)
        raise


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file to be filled; it takes its name when all is written, and is gone when that fails."""
    hidden = Path(os.fsdecode(aside(os.fsencode(path.absolute()))))
    try:
        with open(hidden, "xb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        hidden.replace(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
