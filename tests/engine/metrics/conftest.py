"""What COCO's own programs said of a few captions: coco-caption's scorers, METEOR 1.5 and CoreNLP 3.4.1's tokeniser.

`coco.json` holds captions and candidates of coco-caption's demo (LICENSE.coco-caption.txt; captions CC BY 4.0) and
odd ones of our own, with the scores of pycocoevalcap 1.2.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def coco() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("coco.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def shared_metrics() -> Path:
    folder = Path(__file__).resolve().parents[4] / "shared" / "data" / "metrics"
    if not folder.is_dir():
        pytest.skip("no ../shared/data/metrics beside this clone")
    return folder
