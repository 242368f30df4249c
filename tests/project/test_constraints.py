"""`constraints.txt` names what these tests run with: every package, its exact version, and nothing else."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# What a CUDA build of torch brings along and pins by itself.
OF_CUDA = re.compile(r"(nvidia|cuda)-|triton$")


def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines)}


def needed(package: str, extras: frozenset[str], found: set[tuple[str, frozenset[str]]]) -> set[str]:
    """Every installed package that `package[extras]` leads to on this machine."""
    if (package, extras) in found:
        return set()
    found.add((package, extras))
    names = {package}
    for requirement in map(Requirement, requires(package) or []):
        if not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            names |= needed(canonicalize_name(requirement.name), frozenset(requirement.extras), found)
    return names


def test_every_package_that_runs_here_is_pinned_to_its_version() -> None:
    here = {name for name in needed("blipq", frozenset({"dev"}), set()) if not OF_CUDA.match(name)} - {"blipq"}
    assert {name: version(name).partition("+")[0] for name in here} == {name: pins().get(name) for name in here}


def test_nothing_is_pinned_that_is_not_needed() -> None:
    unneeded = set(pins()) - needed("blipq", frozenset({"dev"}), set())
    assert not {name for name in unneeded if _installed(name)}


def test_the_pin_of_torch_serves_cpu_and_cuda_builds() -> None:
    assert pins()["torch"] == "2.13.0"
    assert not [name for name in pins() if OF_CUDA.match(name)]
    assert not [pin for pin in pins().values() if "+" in pin]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
