from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from blipq.worker.engine.metrics import LABELS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def test_the_example_prints_what_the_page_shows():
    program, printed = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text("utf-8"), re.S).groups()

    done = subprocess.run([sys.executable, "-X", "utf8", "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == printed


def test_the_page_names_every_metric():
    page = PAGE.read_text("utf-8")

    assert all(f"`{name}`" in page for name in LABELS if name not in ("bleu_2", "bleu_3"))
    assert all(label in page for label in LABELS.values() if label not in ("BLEU-2", "BLEU-3"))
