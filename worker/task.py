"""One picture on its way through a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from blipq.models.results import Captioned, Failed, Work
from blipq.worker.engine.picture import Picture
from blipq.worker.orders import Order


@dataclass(frozen=True)
class Task:
    """A claimed picture, the order that it is for, and its pixels once they are decoded."""

    order: Order
    work: Work
    data: bytes | None = None  # of an upload
    picture: Picture | None = None


Settled: TypeAlias = tuple[Order, Captioned | Failed]
