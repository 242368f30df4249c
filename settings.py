"""Every `BLIPQ_*` setting: typed, frozen, documented. `docs/settings.md` is generated from this file."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MB = 1_000_000
GB = 1_000_000_000


class SettingsError(Exception):
    """A setting has a wrong value; the message is one line that names the variable and what it takes."""


def _default_home() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "blipq"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "blipq"


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _one_of_schemes(*schemes: str) -> AfterValidator:
    def check(url: str | None) -> str | None:
        if not url:
            return None
        if urlsplit(url).scheme.partition("+")[0] not in {s.partition("+")[0] for s in schemes}:
            raise ValueError(f"a URL that starts with {' or '.join(s + '://' for s in schemes)}")
        return url

    return AfterValidator(check)


def _split_paths(value: object) -> object:
    return tuple(_absolute(Path(part)) for part in value.split(":") if part) if isinstance(value, str) else value


class Settings(BaseSettings):
    """What a person may set, all by environment variables that start with `BLIPQ_`."""

    model_config = SettingsConfigDict(env_prefix="BLIPQ_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=_default_home, description="folder of the embedded database, broker, logs and checkpoints"
    )
    database_url: Annotated[str | None, _one_of_schemes("sqlite", "postgresql")] = Field(
        None, description="`postgresql://user:password@host/name`; without it SQLite at `$BLIPQ_HOME/blipq.db`"
    )
    redis_url: Annotated[str | None, _one_of_schemes("redis", "rediss", "redis+socket")] = Field(
        None, description="`redis://`, `rediss://` or `redis+socket://`; without it an embedded Valkey in `$BLIPQ_HOME`"
    )
    model: str = Field(
        "Salesforce/blip-image-captioning-base",
        description="the model when none is named: a Hub id (with `@revision`), a folder, `demo`, `run:3` or an alias",
    )
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        "auto", description="`auto`, `cpu`, `cuda:0` or `mps`"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="of the model's arithmetic")
    batch_size: int | None = Field(None, ge=1, le=4096, description="pictures a batch; chosen and remembered if unset")
    batch_window: float = Field(0.005, ge=0, le=0.01, description="seconds a lone picture waits for company")
    decode_processes: int | None = Field(None, ge=1, le=256, description="processes that decode pictures; one a core")
    model_idle: float = Field(300, gt=0, description="seconds without work after which a model leaves the device")
    idle: float = Field(900, gt=0, description="seconds without work after which the local daemon ends")
    lease: float = Field(30, ge=2, description="seconds after which a worker that is not heard of loses its units")
    batch_limit: float = Field(600, gt=0, description="seconds after which a batch that hangs is killed")
    attempts: int = Field(2, ge=1, description="crashes of the model process that a single picture may cause")
    max_pixels: int = Field(50_000_000, ge=1, description="pictures of more pixels are refused")
    max_bytes: int = Field(200 * MB, ge=1, description="files of more bytes are refused")
    decode_memory: int = Field(2 * GB, ge=500 * MB, description="bytes of memory a decode process may take")
    decode_seconds: float = Field(20, gt=0, description="seconds a single picture may take to decode")
    share_device: bool = Field(True, description="whether training runs beside captions on one device")
    captioner: str = Field(
        "blipq.worker.engine.captioner:open_captioner",
        description="`module:function` that opens a model; for captioners of your own",
    )
    api_token: str | None = Field(None, description="bearer token of the HTTP API; without it loopback only")
    roots: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_split_paths)] = Field(
        (), description="folders, split by `:`, whose pictures HTTP callers may name by path"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="of `$BLIPQ_HOME/log`")

    @property
    def embedded(self) -> bool:
        """Whether the broker is ours: then `enqueue` and `train` start the local daemon by themselves."""
        return self.redis_url is None

    @property
    def ledger_url(self) -> str:
        """SQLAlchemy's URL of the ledger; PostgreSQL always through psycopg 3."""
        if self.database_url is None:
            return f"sqlite:///{self.home / 'blipq.db'}"
        scheme, _, rest = self.database_url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme.startswith("postgres") else self.database_url


def variable(field: str) -> str:
    """The environment variable behind a field of `Settings`."""
    return f"BLIPQ_{field.upper()}"


def redact(text: str) -> str:
    """Take the passwords out of the URLs in a text, for logs and errors."""
    words = []
    for word in text.split(" "):
        head, at, tail = word.rpartition("@")
        scheme, sep, user = head.partition("://")
        words.append(f"{scheme}://{user.partition(':')[0]}:***@{tail}" if at and sep and ":" in user else word)
    return " ".join(words)


@cache
def load() -> Settings:
    """Read the settings once a process.

    Raises SettingsError: one line that names the variable and what it takes.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        takes = first["msg"].removeprefix("Value error, ")
        described = Settings.model_fields[field].description if field in Settings.model_fields else ""
        shown = redact(str(first.get("input")))
        raise SettingsError(f"{variable(field)}={shown}: {takes} ({described})") from None
