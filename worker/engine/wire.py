"""What goes between the pool and a decode process: fixed headers and bytes over a socket, pixels in shared memory.

No pickle either way: a decoder that a picture has taken over can answer nonsense, and nothing more.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import get_args

import numpy as np
from PIL import Image

from blipq.worker.engine.formats import FORMATS
from blipq.worker.engine.picture import BadImage, Identity, Kind, Picture, Shape
from blipq.worker.engine.raw import RAW_FORMATS

HELLO = b"ready"
SIDE = 1024  # pixels, the largest side of a shape
HALF = 4 * SIDE * SIDE * 3  # bytes for the pixels of a group of pictures: 28 of BLIP's 384 x 384, 4 of the largest
HEAD = 4096  # bytes before the pixels; the first byte says what the process is doing
SHARED = HEAD + 2 * HALF  # a process is given two groups at once: one it works at, the other waits
IDLE, READING, DECODING = range(3)

_FORMATS = frozenset(FORMATS + RAW_FORMATS)
_KINDS: tuple[Kind, ...] = get_args(Kind)
# where its pixels go, last of its group?, by path?, draft?, resample, height, width (0: identify only), length
_REQUEST = struct.Struct("<IBBBBHHQ")
_ANSWER = struct.Struct("<BB32sIIH")  # what, kind, sha256, width, height, length of the text
_PICTURE, _IDENTITY, _BAD = range(3)
REQUEST_SIZE, ANSWER_SIZE = _REQUEST.size, _ANSWER.size

Answer = Picture | Identity | BadImage


@dataclass(frozen=True)
class Request:
    """A picture to decode: by the path of its file, or as its bytes; without a `shape` it is only identified."""

    path: bytes | None = None
    data: bytes | None = None
    shape: Shape | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.data is None):
            raise ValueError("a request takes either path or data")
        if self.shape:
            height, width = self.shape.height, self.shape.width
            if not (min(height, width) > 0 and max(height, width) <= SIDE):
                raise ValueError(f"a shape of {height} x {width} is beyond 1 to {SIDE} pixels a side")
            Image.Resampling(self.shape.resample)  # ValueError, too

    @property
    def room(self) -> int:
        """Bytes of the pixels that are asked for."""
        return self.shape.height * self.shape.width * 3 if self.shape else 0


@dataclass(frozen=True)
class Header:
    """A request without its bytes: `length` of them follow. Answers are kept back until the `last` of a group."""

    start: int
    last: bool
    by_path: bool
    shape: Shape | None
    length: int


def pack_request(request: Request, start: int, *, last: bool) -> bytes:
    """Header and, for a path, its bytes; data is sent after it, uncopied."""
    shape = request.shape or Shape(0, 0)
    by_path = request.path is not None
    length = len(request.path if request.path is not None else request.data or b"")
    head = _REQUEST.pack(start, last, by_path, shape.draft, shape.resample, shape.height, shape.width, length)
    return head + (request.path or b"")


def unpack_request(head: bytes) -> Header:
    start, last, by_path, draft, resample, height, width, length = _REQUEST.unpack(head)
    shape = Shape(height, width, resample, bool(draft)) if height else None
    return Header(start, bool(last), bool(by_path), shape, length)


def pack_answer(answer: Answer) -> bytes:
    """All of an answer but its pixels."""
    if isinstance(answer, BadImage):
        text = answer.message.encode("utf-8", "replace")[:500]
        return _ANSWER.pack(_BAD, _KINDS.index(answer.kind), b"", 0, 0, len(text)) + text
    what = _PICTURE if isinstance(answer, Picture) else _IDENTITY
    text = answer.format.encode("ascii")
    return _ANSWER.pack(what, 0, answer.sha256, answer.width, answer.height, len(text)) + text


def text_length(head: bytes) -> int:
    """How many bytes of text follow an answer's header."""
    return int(_ANSWER.unpack(head)[-1])


def unpack_answer(head: bytes, text: bytes, shape: Shape | None, shared: mmap.mmap | memoryview, start: int) -> Answer:
    """The answer to a request of `shape`; pixels are copied out of shared memory. ValueError when it is none."""
    what, kind, sha256, width, height, _ = _ANSWER.unpack(head)
    said = "".join(letter if letter.isprintable() else "?" for letter in text.decode("utf-8", "replace"))
    if what == _BAD and kind < len(_KINDS):
        return BadImage(_KINDS[kind], said)
    if not (said in _FORMATS and 0 < width < 1 << 31 and 0 < height < 1 << 31):
        raise ValueError("no format or size of a picture")
    if what == _IDENTITY and shape is None:
        return Identity(sha256, width, height, said)
    if what == _PICTURE and shape is not None:
        count = shape.height * shape.width * 3
        pixels = np.frombuffer(shared, np.uint8, count, start).reshape(shape.height, shape.width, 3).copy()
        return Picture(sha256, width, height, said, pixels)
    raise ValueError("no answer to what was asked")
