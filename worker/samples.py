"""`blipq show DATASET` behind the command line: a few pictures of a data set with their captions.

A question on stdin ({"data", "count", "folder", ...}), the answer as one line on stdout. Pictures that lie inside a
table are written into the folder, and the caller deletes it.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.sources import open_data


def main() -> int:
    """Answer one question."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches us too: end without a word
    try:
        answer = samples(**json.loads(sys.stdin.read()))
    except (TrainingError, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 0


def samples(
    data: str, count: int, folder: str, split: str = "train", image_column: str | None = None,
    text_column: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The first pictures that can be read, each with its captions. Raises TrainingError, OSError."""
    source, _ = open_data(data, split, None, image_column, text_column, Path(folder))
    found: list[dict[str, Any]] = []
    for row in range(len(source)):
        if len(found) == count:
            break
        path = Path(folder) / f"{row:06d}{Path(source.name(row)).suffix}"
        try:
            path.write_bytes(source.read(row))
        except OSError:
            continue
        found.append({"picture": str(path), "captions": source.captions(row)})
    return {"pictures": len(source), "samples": found}


if __name__ == "__main__":
    sys.exit(main())
