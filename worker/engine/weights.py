"""A checkpoint's files: from the Hub into its cache, and `.bin` weights, once, into safetensors.

Pickled weights are read in a child process with `weights_only=True`: nothing in them is run, and what they break or
fill breaks and fills the child.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blipq.worker.engine.checkpoint import check, one_line
from blipq.worker.engine.errors import NotACaptioner, NotFetched

Progress = Callable[[str, int, int], None]
"""Called with what is being done, bytes done and bytes in all."""

SMALL = ("*.json", "*.txt", "README.md")  # configuration, vocabulary, licence: a megabyte
SAFE, PICKLED = "*.safetensors", "pytorch_model*.bin"
SECONDS = 10.0  # that a Hub which does not answer may take


def fetch(name: str, revision: str | None = None, progress: Progress | None = None) -> Path:
    """Bring a Hub checkpoint's configuration and weights (safetensors, else `.bin`) into the cache → its folder.

    What the cache holds is not asked for again. Raises NotFetched, within ten seconds where the Hub does not answer.
    """
    # Otherwise transformers asks a bot, from a thread, to convert what has no safetensors, and waits for it.
    os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
    from huggingface_hub import HfApi, snapshot_download

    cached = _cached(name, revision)
    if cached is not None:
        return cached
    try:
        found = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=SECONDS)
        sizes = {file.rfilename: file.size or 0 for file in found.siblings or ()}
        weights = SAFE if any(_top(file, ".safetensors") for file in sizes) else PICKLED
        total = sum(size for file, size in sizes.items() if _top(file, ".json", ".txt", Path(weights).suffix))
        if progress:
            progress(f"{name}: downloading {total / 1e6:.0f} MB", 0, total)
        folder = snapshot_download(
            name,
            revision=found.sha,
            allow_patterns=[*SMALL, weights],
            ignore_patterns=["*/*"],
            etag_timeout=SECONDS,
            tqdm_class=_bars(name, total, progress),
        )
    except Exception as error:  # the Hub's client raises its own, httpx's, requests' and the system's errors
        remedy = "use --model with a local folder, HF_HOME with a cache that holds it, or --model demo"
        raise NotFetched(f"{name}: not fetched from the Hub ({one_line(error)}); {remedy}") from None
    return Path(folder)


def _cached(name: str, revision: str | None) -> Path | None:
    """The cache's folder where it is complete."""
    from huggingface_hub import snapshot_download

    for weights in (SAFE, PICKLED):
        wanted = {"allow_patterns": [*SMALL, weights], "ignore_patterns": ["*/*"]}
        try:
            folder = Path(snapshot_download(name, revision=revision, local_files_only=True, **wanted))
        except (OSError, ValueError):  # not there, not whole, not a name
            continue
        if any(folder.glob(weights)):
            return folder
    return None


def needs_conversion(folder: Path) -> bool:
    """Whether a folder holds pickled weights only."""
    return not any(folder.glob(SAFE)) and any(folder.glob(PICKLED))


def convert(folder: Path, target: Path, progress: Progress | None = None) -> Path:
    """Convert a `.bin` checkpoint to safetensors, once: a second call, at the same time or later, finds it done.

    `target` becomes a complete checkpoint; its parent holds the lock. → target. Raises NotACaptioner: one line, for a
    folder that is no BLIP captioner, a pickle that asks to run code, and a broken or incomplete file.
    """
    check(folder)
    shards = _shards(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f"{target.name}.lock")):
        if (target / "model.safetensors").is_file():
            return target
        aside = target.with_name(f"{target.name}.making")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            _run_child(folder, shards, aside, progress)
            for pattern in SMALL:
                for path in folder.glob(pattern):
                    if not path.name.endswith(".index.json"):
                        shutil.copyfile(path, aside / path.name)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return target


def _top(file: str, *suffixes: str) -> bool:
    return "/" not in file and file.endswith(suffixes)


def _shards(folder: Path) -> list[Path]:
    index = folder / "pytorch_model.bin.index.json"
    try:
        names = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else {"pytorch_model.bin"}
    except (ValueError, KeyError, AttributeError):
        raise NotACaptioner(f"{folder}: {index.name} cannot be read") from None
    shards = [folder / Path(str(name)).name for name in sorted(names)]
    missing = [path.name for path in shards if not path.is_file()]
    if missing:
        raise NotACaptioner(f"{folder}: {missing[0]} is missing")
    return shards


def _run_child(folder: Path, shards: list[Path], aside: Path, progress: Progress | None) -> None:
    total = sum(path.stat().st_size for path in shards)
    said = f"{folder.name}: converting {total / 1e6:.0f} MB to safetensors"
    if progress:
        progress(said, 0, total)
    command = [sys.executable, "-I", "-m", __spec__.name if __spec__ else __name__, str(aside / "model.safetensors")]
    child = subprocess.Popen([*command, *map(str, shards)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if progress:
            progress(said, int(line), total)
    reason = child.communicate()[1].strip().splitlines()
    if child.returncode:
        raise NotACaptioner(f"{folder}: {reason[-1] if reason else f'conversion ended with {child.returncode}'}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _bars(name: str, total: int, progress: Progress | None) -> Any:
    """huggingface_hub reports through a class like tqdm; this one prints nothing and hands the bytes on."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **{**named, "disable": True})
            self.counts = named.get("unit") == "B"
            self.sum = int(named.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            self.sum += int(n or 0)
            if self.counts and progress:
                progress(f"{name}: downloading {total / 1e6:.0f} MB", self.sum, total)

    return Bar


def _child(target: Path, shards: list[Path]) -> None:
    import pickle
    import re

    import torch
    from safetensors.torch import save_file

    weights: dict[str, torch.Tensor] = {}
    stored: set[tuple[int, int, torch.Size]] = set()
    done = 0
    for shard in shards:
        try:
            found = torch.load(shard, map_location="cpu", weights_only=True)  # noqa: TID251
        except pickle.UnpicklingError as error:
            asked = re.search(r"GLOBAL (\S+)", str(error))
            if asked:
                sys.exit(f"{shard.name} asks to run {asked[1]}: refused, not run")
            sys.exit(f"{shard.name} holds no weights that torch can read")
        except Exception as error:
            sys.exit(f"{shard.name} cannot be read ({one_line(error)})")
        if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
            sys.exit(f"{shard.name} holds no weights by name")
        for name, value in sorted(found.items()):
            # Tied weights are one storage under two names: kept once, tied again by transformers when it loads.
            place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape)
            if place not in stored:
                stored.add(place)
                weights[str(name)] = value.contiguous()
        done += shard.stat().st_size
        print(done, flush=True)
    save_file(weights, target, metadata={"format": "pt"})


if __name__ == "__main__":
    _child(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
