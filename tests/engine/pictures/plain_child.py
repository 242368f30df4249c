"""A decode process whose decoder is plain Pillow: the picture where `open` and `load` succeed, else the reason."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from blipq.worker.engine import decode_child
from blipq.worker.engine.formats import FORMATS, strict
from blipq.worker.engine.picture import BadImage, Limits, Picture, Shape
from blipq.worker.engine.wire import Answer


def work(data: bytes, shape: Shape | None, limits: Limits) -> Answer:
    try:
        with strict(limits.pixels):
            picture = Image.open(BytesIO(data), formats=FORMATS)
            picture.load()
    except Exception as error:
        return BadImage("corrupt", f"{type(error).__name__}: {error}"[:200])
    assert shape is not None
    return Picture(bytes(32), *picture.size, "PNG", np.zeros((shape.height, shape.width, 3), np.uint8))


if __name__ == "__main__":
    decode_child.serve(work)
