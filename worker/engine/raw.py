"""Camera RAW files: none are known yet."""

from __future__ import annotations

from dataclasses import dataclass

from blipq.worker.engine.container import Container


@dataclass(frozen=True)
class Raw:
    format: str
    preview: bytes
    container: Container
    orientation: int


def read_raw(data: bytes) -> Raw | None:
    return None
