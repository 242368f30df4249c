"""How many pictures a batch: asked, remembered, or measured; halved when memory runs out, tried larger again later."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np

from blipq.models import fleet
from blipq.models.database import Ledger
from blipq.models.fleet import Engine
from blipq.worker import memory
from blipq.worker.engine.errors import OutOfMemory
from blipq.worker.orders import Kind, Order

if TYPE_CHECKING:
    from blipq.worker.engine.captioner import Captioner

LARGEST = 512
MEASURE_SECONDS = 4.0  # what trying sizes may cost, once a model and device
GAIN = 1.05  # a size twice as large must be this much faster a picture to be worth its latency
LARGER_AGAIN_SECONDS = 600.0
MEMORY_SHARE = 0.8  # of what is free: others may take some before the batch does
_log = logging.getLogger(__name__)


class BatchSizes:
    """Batch sizes of one worker's device, remembered in the ledger.

    `larger_again`: seconds after which a size that did not fit is tried once more, since it may have been another
    program's memory that was missing.
    """

    def __init__(self, ledger: Ledger, fixed: int | None, larger_again: float = LARGER_AGAIN_SECONDS) -> None:
        self._ledger = ledger
        self._fixed = fixed
        self._larger_again = larger_again
        self._sizes: dict[Kind, int] = {}
        self._engines: dict[Kind, Engine] = {}
        self._costs: dict[Kind, int] = {}  # bytes of memory a picture of a batch
        self._ceilings: dict[Kind, tuple[int, float]] = {}  # what did not fit, and when

    def of(self, order: Order) -> int:
        """Pictures a batch for an order, as the memory free just now allows. Its model must have been measured."""
        kind = order.kind
        self._lift(kind)
        size = order.batch_size or self._fixed or self._sizes.get(kind, 1)
        if kind in self._ceilings:
            size = min(size, self._ceilings[kind][0] // 2)
        if self._costs.get(kind):
            free = memory.free(self._engines[kind].device)
            if free is not None:
                size = min(size, int(free * MEMORY_SHARE) // self._costs[kind])
        return max(1, size)

    def knows(self, kind: Kind) -> bool:
        """Whether it was measured in this process, or needs not be."""
        return kind in self._sizes

    def measure(self, kind: Kind, captioner: Captioner) -> None:
        """Remember, or else find out, the size that serves a model best: doubles it while a picture gets cheaper.

        Raises OutOfMemory where there is no room for two pictures.
        """
        if kind in self._sizes:
            return
        engine = _engine(kind, captioner)
        self._engines[kind] = engine
        with self._ledger.read() as connection:
            known = fleet.learned(connection, engine)
        self._costs[kind] = _cost(captioner)
        if known is not None:
            self._sizes[kind] = known.size
            if known.rate is None:  # not measured, but where memory ran out
                self._ceilings[kind] = (2 * known.size, time.monotonic())
            return
        if self._fixed is not None:
            self._sizes[kind] = self._fixed
            return
        size, rate = self._double(kind, captioner)
        self._sizes[kind] = size
        self._learn(kind, size, rate)
        _log.info("%s on %s: %d pictures a batch, %.1f a second", kind.model, captioner.device, size, rate)

    def halve(self, order: Order, tried: int) -> int:
        """Memory ran out at `tried` pictures: remember that, and the size to go on with."""
        self._ceilings[order.kind] = (tried, time.monotonic())
        size = max(1, tried // 2)
        self._sizes[order.kind] = size
        self._learn(order.kind, size, None)
        _log.warning("memory ran out at %d pictures a batch: going on with %d", tried, size)
        return size

    def _lift(self, kind: Kind) -> None:
        """Forget a ceiling that is old: the size that did not fit then is tried again, and remembered anew."""
        tried, since = self._ceilings.get(kind, (0, 0.0))
        if tried and time.monotonic() - since > self._larger_again:
            del self._ceilings[kind]
            self._sizes[kind] = min(LARGEST, tried)
            self._learn(kind, self._sizes[kind], None)

    def _learn(self, kind: Kind, size: int, rate: float | None) -> None:
        with self._ledger.write() as connection:
            fleet.learn(connection, self._engines[kind], size, rate)

    def _double(self, kind: Kind, captioner: Captioner) -> tuple[int, float]:
        best, best_rate, size, spent = 1, 0.0, 4, 0.0
        while size <= LARGEST and spent < MEASURE_SECONDS:
            try:
                took = _seconds(kind, captioner, size)
                if size / took < best_rate * GAIN:  # slower, or another program was in the way just now
                    spent += took
                    took = min(took, _seconds(kind, captioner, size))
            except OutOfMemory:
                break
            spent += took
            if size / took < best_rate * GAIN:
                break
            best, best_rate, size = size, size / took, size * 2
        return best, best_rate


def _seconds(kind: Kind, captioner: Captioner, size: int) -> float:
    """What a batch of noise takes."""
    shape = captioner.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (size, shape.height, shape.width, 3), dtype=np.uint8)
    began = time.monotonic()
    captioner.caption(pixels, [""] * size, kind.decoding, [0] * size)
    return time.monotonic() - began


def _cost(captioner: Captioner) -> int:
    """Bytes that a picture of a batch takes; warms the model up. Raises OutOfMemory where not even two fit.

    On a GPU the difference of two sizes, 50 ms; on a CPU, where a picture takes up to a second, two pictures alone:
    what the first ones take for good counts too, so that the figure is rather too large.
    """
    with memory.peak(captioner.device) as first:
        captioner.warm_up(2)
    if captioner.device == "cpu":
        return first.bytes // 2
    try:
        with memory.peak(captioner.device) as two:
            captioner.warm_up(2)
        with memory.peak(captioner.device) as eight:
            captioner.warm_up(8)
    except OutOfMemory:
        return first.bytes // 2
    return max(0, eight.bytes - two.bytes) // 6


def _engine(kind: Kind, captioner: Captioner) -> Engine:
    return Engine(kind.weights, captioner.device, kind.decoding.num_beams, captioner.precision)
