"""The Makefile and `.ci/run`: each target makes its environment, and says in one line what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["demo", "test", "lint", "faults", "fuzz", "accept", "bench", "docs"]
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="there is no make here")


def make(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_makes_the_environment_when_there_is_none(clone: Path, target: str) -> None:
    planned = make("--dry-run", target, cwd=clone)
    assert planned.returncode == 0, planned.stderr
    assert "-m venv .venv" in planned.stdout
    assert "install --quiet --disable-pip-version-check --constraint constraints.txt" in planned.stdout


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_the_environment_is_renewed_when_what_it_rests_on_changes(clone: Path, changed: str) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".ready").touch()
    future = (clone / ".venv" / ".ready").stat().st_mtime + 10
    assert "pip install" not in make("--dry-run", "lint", cwd=clone).stdout
    os.utime(clone / changed, (future, future))
    assert "pip install" in make("--dry-run", "lint", cwd=clone).stdout


@pytest.mark.parametrize(
    ("missing", "says"), [("version_info", "Python 3.11 or newer"), ("ensurepip", "apt install python3-venv")]
)
def test_what_is_missing_is_said_in_one_line(clone: Path, missing: str, says: str) -> None:
    # Given a Python that fails whatever asks for the missing piece
    python = clone / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *{missing}*) exit 1;; esac\n')
    python.chmod(0o755)
    failed = make(f"PYTHON={python}", "lint", cwd=clone)
    assert failed.returncode == 2
    ours = [line for line in failed.stderr.splitlines() if not line.startswith("make")]
    assert len(ours) == 1
    assert says in ours[0]
    assert not (clone / ".venv").exists()


def test_ci_runs_the_test_command_with_the_servers_demanded() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in script
    assert "export BLIPQ_TEST_SERVERS=required" in script
    assert re.search(r"^exec make .*\btest$", script, re.MULTILINE)
