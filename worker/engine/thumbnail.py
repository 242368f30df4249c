"""A process that makes thumbnails: small JPEGs of pictures that strangers may have made, under a decoder's limits.

Started as `python -P -m blipq.worker.engine.thumbnail PIXELS BYTES MEMORY SECONDS` with a socket as stdin. A request is
a line of JSON: `path` and `sha256` in hex, `side` in pixels. An answer is a byte (0: a JPEG, 1: a line why not), the
length in four bytes, and so many bytes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import suppress
from io import BytesIO

from PIL import Image

from blipq.worker.engine.decode_child import harden
from blipq.worker.engine.formats import failure_of, strict
from blipq.worker.engine.opened import open_file
from blipq.worker.engine.picture import BadImage, Limits
from blipq.worker.engine.rgb import to_rgb, turn
from blipq.worker.engine.source import read_picture

QUALITY = 82
LARGEST = 2000  # pixels of a side


def thumbnail(data: bytes, sha256: bytes, side: int, limits: Limits) -> bytes | BadImage:
    """A JPEG of at most `side` by `side` pixels, upright, on white, without metadata.

    `changed` where the picture is no longer the one that `sha256` stands for; whatever the bytes are, no exception.
    """
    try:
        with strict(limits.pixels):
            opened = open_file(data, limits.pixels)
            if opened.sha256 != sha256:
                return BadImage("changed", "the file holds another picture by now")
            opened.image.draft(None, (2 * side, 2 * side))  # JPEG alone heeds it; the filter below has room to work
            opened.load()
            image = turn(to_rgb(opened.image), opened.orientation())
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            made = BytesIO()
            image.save(made, "JPEG", quality=QUALITY, optimize=True, progressive=True)
            return made.getvalue()
    except Exception as error:  # decoders raise whatever they like on broken input
        return BadImage(*failure_of(error, data))


def serve() -> None:
    """Answer requests until the parent closes the socket."""
    pixels, size, memory, seconds = sys.argv[1:5]
    limits = Limits(int(pixels), int(size), int(memory), float(seconds))
    parent = socket.socket(fileno=os.dup(0))
    harden(limits)
    with suppress(ConnectionError), parent.makefile("rb") as requests:  # the parent is gone: so are we
        for line in requests:
            made = _answer(json.loads(line), limits)
            body = made if isinstance(made, bytes) else made.message.encode()
            parent.sendall(bytes([not isinstance(made, bytes)]) + len(body).to_bytes(4, "big") + body)


def _answer(asked: dict[str, str | int], limits: Limits) -> bytes | BadImage:
    try:
        data = read_picture(bytes.fromhex(str(asked["path"])), limits.bytes)
        if isinstance(data, BadImage):
            return data
        return thumbnail(data, bytes.fromhex(str(asked["sha256"])), min(LARGEST, int(asked["side"])), limits)
    except MemoryError:
        return BadImage("memory", "takes more memory to decode than the limit allows")


if __name__ == "__main__":
    serve()
