"""How many pictures a batch: asked, remembered, or measured; halved when memory runs out, tried larger again later."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from blipq.models import fleet
from blipq.models.database import Ledger
from blipq.models.fleet import Engine
from blipq.worker.engine.errors import OutOfMemory
from blipq.worker.orders import Kind, Order

if TYPE_CHECKING:
    from blipq.worker.engine.captioner import Captioner

LARGEST = 512
MEASURE_SECONDS = 4.0  # what trying sizes may cost, once a model and device
GAIN = 1.05  # a size twice as large must be this much faster a picture to be worth its latency
LARGER_AGAIN_SECONDS = 600
_log = logging.getLogger(__name__)


class BatchSizes:
    """Batch sizes of one worker's device, remembered in the ledger."""

    def __init__(self, ledger: Ledger, fixed: int | None) -> None:
        self._ledger = ledger
        self._fixed = fixed
        self._sizes: dict[Kind, int] = {}
        self._ceilings: dict[Kind, tuple[int, float]] = {}  # what did not fit, and when

    def of(self, order: Order) -> int:
        """Pictures a batch for an order. Its model must have been measured."""
        kind = order.kind
        asked = order.batch_size or self._fixed
        size = asked or self._sizes.get(kind, 1)
        if kind in self._ceilings:
            ceiling, since = self._ceilings[kind]
            if time.monotonic() - since > LARGER_AGAIN_SECONDS:
                del self._ceilings[kind]
                self._sizes[kind] = min(LARGEST, ceiling)
                return self.of(order)
            return max(1, min(size, ceiling // 2))
        return size

    def measure(self, kind: Kind, captioner: Captioner) -> None:
        """Remember, or else find out, the size that serves a model best: doubles it while a picture gets cheaper."""
        if kind in self._sizes:
            return
        with self._ledger.read() as connection:
            known = fleet.learned(connection, _engine(kind, captioner))
        if known is not None:
            captioner.warm_up(min(known.size, 2))
            self._sizes[kind] = known.size
            return
        if self._fixed is not None:
            captioner.warm_up(1)
            self._sizes[kind] = self._fixed
            return
        size, rate = self._double(kind, captioner)
        self._sizes[kind] = size
        with self._ledger.write() as connection:
            fleet.learn(connection, _engine(kind, captioner), size, rate)
        _log.info("%s on %s: %d pictures a batch, %.1f a second", kind.model, captioner.device, size, rate)

    def halve(self, order: Order, captioner: Captioner, tried: int) -> int:
        """Memory ran out at `tried` pictures: remember that, and the size to go on with."""
        self._ceilings[order.kind] = (tried, time.monotonic())
        size = self.of(order)
        self._sizes[order.kind] = size
        with self._ledger.write() as connection:
            fleet.learn(connection, _engine(order.kind, captioner), size, None)
        _log.warning("memory ran out at %d pictures a batch: going on with %d", tried, size)
        return size

    def _double(self, kind: Kind, captioner: Captioner) -> tuple[int, float]:
        best, best_rate, size, spent = 1, 0.0, 4, 0.0
        captioner.warm_up(1)
        while size <= LARGEST and spent < MEASURE_SECONDS:
            shape = captioner.preprocessing
            pixels = np.random.default_rng(0).integers(0, 256, (size, shape.height, shape.width, 3), dtype=np.uint8)
            began = time.monotonic()
            try:
                captioner.caption(pixels, [""] * size, kind.decoding, [0] * size)
            except OutOfMemory:
                break
            took = time.monotonic() - began
            spent += took
            if size / took < best_rate * GAIN:
                break
            best, best_rate, size = size, size / took, size * 2
        return best, best_rate


def _engine(kind: Kind, captioner: Captioner) -> Engine:
    return Engine(kind.weights, captioner.device, kind.decoding.num_beams, captioner.precision)
