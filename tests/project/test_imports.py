"""The one direction of imports, seen at run time; `lint-imports` sees the same in the source, under `make lint`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Imports every module of the rooms in argv, and prints what that loaded.
LOAD = """
import importlib, json, pkgutil, sys
for room in sys.argv[1:]:
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), room + "."):
        importlib.import_module(module.name)
print(json.dumps(sorted(sys.modules)))
"""


def loaded(*rooms: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", LOAD, *rooms], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def under(modules: set[str], *names: str) -> set[str]:
    return {module for module in modules for name in names if module == name or module.startswith(name + ".")}


def test_the_producer_never_loads_torch_or_the_engine() -> None:
    modules = loaded("blipq.producer")
    assert not under(modules, "torch", "transformers", "datasets", "blipq.worker.engine", "blipq.worker.tasks")


def test_the_ledger_loads_nothing_above_it() -> None:
    modules = loaded("blipq.models")
    assert not under(modules, "torch", "celery", "redis", "click", "blipq.worker", "blipq.producer")


def test_the_engine_loads_nothing_of_ours_but_itself() -> None:
    modules = loaded("blipq.worker.engine")
    ours = under(modules, "blipq") - under(modules, "blipq.worker.engine")
    assert ours == {"blipq", "blipq.worker"}  # the packages that it lies in
    assert not under(modules, "celery", "sqlalchemy", "redis", "click", "pydantic_settings")


def test_settings_load_nothing_of_ours() -> None:
    assert under(loaded("blipq.settings"), "blipq") == {"blipq", "blipq.settings"}


@pytest.mark.parametrize("room", ["worker", "producer", "models", "demo", "alembic"])
def test_no_file_is_over_400_lines(room: str) -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / room).rglob("*.py")}
    assert not {name: length for name, length in lengths.items() if length > 400}
