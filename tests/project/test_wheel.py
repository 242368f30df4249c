"""What a user installs: the wheel, built from the sdist, in an environment of its own, away from the checkout."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist alone, with the backend called as pip calls it."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "site")
    shutil.copytree(ROOT, folder / "checkout", ignore=ignored)
    _build("build_sdist", folder / "checkout", folder)
    [sdist] = folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder / "sdist", filter="data")
    [unpacked] = (folder / "sdist").iterdir()
    _build("build_wheel", unpacked, folder)
    [built] = folder.glob("*.whl")
    return built


def _build(hook: str, source: Path, into: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUILD, hook, into], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with our wheel; its dependencies are lent by the environment that runs the tests."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    [packages] = (folder / "lib").glob("python*/site-packages")
    # A path line adds the folder, but not what its own .pth files would add: the editable checkout stays out.
    (packages / "lent.pth").write_text("".join(f"{lender}\n" for lender in site.getsitepackages()))
    return folder


def run(environment: Path, *command: str, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["BLIPQ_HOME"] = str(cwd / "home")
    done = subprocess.run(
        [environment / "bin" / command[0], *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_blipq_lands_in_site_packages(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"blipq"}


def test_every_file_of_the_rooms_is_in_the_wheel_and_none_beside_them(wheel: Path) -> None:
    rooms = {name.split(".")[1] for name in SETUPTOOLS["packages"]}
    files = [path.relative_to(ROOT) for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]
    here = {f"blipq/{path.as_posix()}" for path in files if "__pycache__" not in path.parts}
    here |= {"blipq/__init__.py", "blipq/__main__.py", "blipq/settings.py"}
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("blipq/")}
    assert shipped == here


def test_the_licence_and_the_readme_come_along(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [licence] = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        assert (ROOT / "README.md").read_text().strip() in archive.read(metadata).decode()


def test_the_package_comes_from_the_wheel_outside_the_checkout(environment: Path, tmp_path: Path) -> None:
    where = run(environment, "python", "-c", "import blipq, blipq.settings; print(blipq.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment)


def test_the_installed_command_knows_its_version(environment: Path, tmp_path: Path) -> None:
    asked = run(environment, "python", "-c", "import blipq; print(blipq.__version__)", cwd=tmp_path).strip()
    assert asked in run(environment, "blipq", "--version", cwd=tmp_path)


def test_the_installed_demo_runs_outside_the_checkout(environment: Path, tmp_path: Path) -> None:
    try:
        run(environment, "blipq", "demo", cwd=tmp_path)
        counted = run(environment, "blipq", "sql", "SELECT count(*) AS n FROM results", "--format", "csv", cwd=tmp_path)
    finally:
        run(environment, "blipq", "down", cwd=tmp_path)
    assert counted.split() == ["n", "24"]
