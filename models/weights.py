"""From a model's name to exact weights: `hub:NAME@COMMIT` or `sha256:HEX`, never a branch. No torch here."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from blipq.models import schema
from blipq.models.rows import upsert

HUB_SECONDS = 8  # a Hub that cannot be reached is said within 10 s
PARTS = ("*.safetensors", "*.json", "vocab.txt", "*.model")  # what decides a caption; .bin only where nothing else is
RESUME = "training.safetensors"  # beside a run's checkpoint; it decides no caption
_HUB_NAME = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
_COMMIT = re.compile(r"^[0-9a-f]{40}$")
_RUN = re.compile(r"^run:(\d+)(?:@(\d+))?$")


class UnknownModel(Exception):
    """A name that leads to no weights; one line: what is wrong, what to do."""


class HubUnreachable(UnknownModel):
    """The Hub did not answer; trying again later may help."""


class Elsewhere(UnknownModel):
    """A run's checkpoint that is not to be seen from this host. `host` wrote it, where that is known."""

    def __init__(self, message: str, host: str | None) -> None:
        super().__init__(message)
        self.host = host


@dataclass(frozen=True)
class Weights:
    """What a model's name means, for good."""

    id: str  # hub:NAME@COMMIT or sha256:HEX
    pinned: str  # a name that will always mean these weights: NAME@COMMIT, /folder, run:3@1200, demo
    folder: Path | None = None  # where they lie, unless they are the Hub's

    @property
    def hub(self) -> tuple[str, str]:
        """Name and commit on the Hub."""
        name, _, commit = self.id.removeprefix("hub:").rpartition("@")
        return name, commit


def demo_folder() -> Path:
    """Where the bundled demo checkpoint lies."""
    return Path(__file__).parent.parent / "demo" / "checkpoint"


def resolve(connection: Connection, name: str) -> Weights:
    """Find the exact weights behind a name: a folder, `demo`, `run:3`, an alias, or a Hub id with optional `@revision`.

    `connection` must be able to write: digests of folders are remembered.
    Raises UnknownModel; HubUnreachable where asking again later may help.
    """
    if name == "demo":
        return _of_folder(connection, demo_folder(), "demo")
    if run := _RUN.match(name):
        return _of_run(connection, int(run[1]), int(run[2]) if run[2] else None)
    alias = connection.execute(select(schema.alias).where(schema.alias.c.name == name)).first()
    if alias is not None:
        found = resolve(connection, alias.model)
        if found.id != alias.weights:
            raise UnknownModel(f"{name} was promoted with other weights than {alias.model} has now: promote it anew")
        return found
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _of_folder(connection, folder.resolve(), str(folder.resolve()))
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UnknownModel(f"model folder {name}: not there")
    base, _, revision = name.partition("@")
    if not _HUB_NAME.match(base):
        raise UnknownModel(f"model {name}: neither a folder, a Hub id, a run (run:3), an alias nor demo")
    commit = _commit(base, revision or "main")
    return Weights(f"hub:{base}@{commit}", f"{base}@{commit}")


def digest(connection: Connection, folder: Path) -> str:
    """sha256 over every file of a model folder that decides a caption; each is hashed once for its size and time.

    Raises UnknownModel where the folder holds no model.
    """
    found = {path for pattern in PARTS for path in folder.glob(pattern) if path.is_file()}
    parts = sorted(path for path in found if path.name != RESUME)
    if not any(path.suffix == ".safetensors" for path in parts):
        parts += sorted(folder.glob("pytorch_model*.bin"))
    if not (folder / "config.json").is_file() or not any(p.suffix in (".safetensors", ".bin") for p in parts):
        raise UnknownModel(f"model folder {folder}: no config.json with model.safetensors (or pytorch_model.bin) in it")
    whole = hashlib.sha256()
    for path in parts:
        whole.update(path.name.encode() + b"\0" + _file_digest(connection, path))
    return f"sha256:{whole.hexdigest()}"


def _of_folder(connection: Connection, folder: Path, pinned: str) -> Weights:
    if not folder.is_dir():
        raise UnknownModel(f"model folder {folder}: not there")
    return Weights(digest(connection, folder), pinned, folder)


def _of_run(connection: Connection, run: int, step: int | None) -> Weights:
    points = schema.checkpoint
    query = select(points).where(points.c.run_id == run)
    if step is None:
        row = connection.execute(query.order_by(points.c.is_best.desc(), points.c.step.desc())).first()
    else:
        row = connection.execute(query.where(points.c.step == step)).first()
    if row is None:
        where = "" if step is None else f" at step {step}"
        raise UnknownModel(f"run:{run} has no checkpoint{where}: `blipq runs` lists what there is")
    name, folder = f"run:{run}@{row.step}", Path(row.path)
    if not folder.is_dir():
        where = f"host {row.host} has it" if row.host else "perhaps another host has it"
        raise Elsewhere(
            f"{name} is not on this host, {where} ({folder}): put BLIPQ_HOME on storage that all hosts share, "
            "or bring the folder back",
            row.host,
        )
    whole = folder / "model.safetensors"
    if not whole.is_file() or _file_digest(connection, whole) != bytes(row.sha256):
        raise UnknownModel(
            f"{name} is damaged: the files in {folder} are not those that its run wrote; name another step "
            f"(`blipq runs {run}` lists them)"
        )
    return _of_folder(connection, folder, name)


def _file_digest(connection: Connection, path: Path) -> bytes:
    table = schema.fingerprint
    stat = path.stat()
    row = connection.execute(select(table).where(table.c.path == str(path))).first()
    if row is not None and (row.size, row.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        return bytes(row.sha256)
    with open(path, "rb") as opened:
        found = hashlib.file_digest(opened, "sha256").digest()
    if stat.st_size > 1_000_000:  # hashing a small one costs less than remembering it
        values = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": found}
        statement = upsert(connection, table).values(path=str(path), **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["path"], set_=values))
    return found


def _commit(name: str, revision: str) -> str:
    """The commit behind a Hub name's revision: given, else cached, else asked of the Hub."""
    if _COMMIT.match(revision):
        return revision
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    cached = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / revision
    if cached.is_file():
        return cached.read_text().strip()
    try:
        info: Any = HfApi().model_info(name, revision=revision, timeout=HUB_SECONDS)
    except RevisionNotFoundError:
        raise UnknownModel(f"model {name} has no revision {revision} on the Hub") from None
    except RepositoryNotFoundError:
        raise UnknownModel(f"no model {name} on the Hub (or it is private: `hf auth login`)") from None
    except Exception as error:  # the Hub's client raises its own, the system's, and httpx's or httpx2's by its version
        raise HubUnreachable(
            f"the Hub cannot be reached for {name} ({type(error).__name__}): use --model FOLDER, "
            "set HF_HOME to a cache that holds it, or try --model demo"
        ) from None
    return str(info.sha)


def is_at_hand(name: str) -> Path | None:
    """Where a model's weights lie on this disk already; None where the Hub would be asked for them."""
    if name == "demo":
        return demo_folder()
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser().resolve()
    from huggingface_hub import try_to_load_from_cache

    base, _, revision = name.partition("@")
    if not _HUB_NAME.match(base):
        return None
    found = try_to_load_from_cache(base, "config.json", revision=revision or None)
    return Path(found).parent if isinstance(found, str) else None
