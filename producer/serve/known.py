"""Which models callers may name: remembered for some seconds, since every request asks."""

from __future__ import annotations

import time

from sqlalchemy import Connection, select

from blipq.models import gallery
from blipq.models.schema import alias
from blipq.producer.serve.house import MODEL_SECONDS, House

_known: dict[int, tuple[float, list[str]]] = {}


async def known_models(house: House) -> list[str]:
    """Models that captioned something, and promoted names."""
    at, names = _known.get(id(house), (0.0, []))
    if not at or time.monotonic() - at > MODEL_SECONDS:
        names = await house.read(_read)
        _known[id(house)] = (time.monotonic(), names)
    return names


def _read(connection: Connection) -> list[str]:
    return sorted({*gallery.models(connection), *connection.scalars(select(alias.c.name))})
