"""`python -P -m blipq.worker.identify`: paths on stdin, split by NUL; for each, in order, its content as a JSON line.

`{"sha256": ..., "width": ..., "height": ..., "format": ...}`, or `{"kind": ..., "message": ...}` of a file that is no
picture. For commands that need a picture's identity and must not decode what strangers made in their own process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from blipq import settings
from blipq.worker.engine.picture import BadImage, Limits
from blipq.worker.engine.pool import DecodePool, Request


def main() -> None:
    """Identify every path."""
    asked = settings.load()
    limits = Limits(asked.max_pixels, asked.max_bytes, asked.decode_memory, asked.decode_seconds)
    paths = [path for path in sys.stdin.buffer.read().split(b"\0") if path]
    with DecodePool(min(len(paths), asked.decode_processes or os.cpu_count() or 1) or 1, limits) as pool:
        for future in [pool.submit(Request(path=path)) for path in paths]:
            found = future.result()
            values = asdict(found) if isinstance(found, BadImage) else {**vars(found), "sha256": found.sha256.hex()}
            print(json.dumps(values))


if __name__ == "__main__":
    main()
