"""Batch sizes: halved where memory runs out, remembered, tried larger again, and never more than fits just now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blipq.models import fleet
from blipq.models.database import Ledger
from blipq.models.migrate import ensure_schema
from blipq.worker import memory
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.engine.decoding import Caption, Decoding
from blipq.worker.engine.errors import OutOfMemory
from blipq.worker.engine.preprocessing import Preprocessing
from blipq.worker.orders import Kind, Order

KIND = Kind("sha256:00", "folder", Decoding(), "fp32")


class Device:
    """A captioner that has room for some pictures, and takes as many bytes for each."""

    device, precision = "cpu", "fp32"
    preprocessing = Preprocessing(8, 8, 0, (0.0,) * 3, (1.0,) * 3, "test")

    def __init__(self, room: int = 1000, bytes_each: int = 0) -> None:
        self.room, self.bytes_each = room, bytes_each

    def caption(
        self, pixels: np.ndarray, prompts: Sequence[str], decoding: Decoding, seeds: Sequence[int]
    ) -> list[Caption]:
        if len(pixels) > self.room:
            raise OutOfMemory(f"no room for {len(pixels)}")
        taken = np.ones(self.bytes_each * len(pixels), np.uint8)  # written to, so that it is really taken
        time.sleep(0.005 + taken[:0].sum())
        return [Caption("", 0.0, (), cut=False) for _ in pixels]

    def warm_up(self, batch: int) -> float:
        self.caption(np.zeros((batch, 8, 8, 3), np.uint8), [""] * batch, Decoding(), [0] * batch)
        return 0.0


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(f"sqlite:///{tmp_path / 'blipq.db'}")
    ensure_schema(made)
    return made


def _order(batch_size: int | None = None) -> Order:
    return Order(1, 0, 1, "", 0, KIND, False, batch_size, ("/photos",))


def _sizes(ledger: Ledger, device: Any, fixed: int | None = None, **more: float) -> BatchSizes:
    made = BatchSizes(ledger, fixed, **more)
    made.measure(KIND, device)
    return made


def test_a_size_is_measured_once_and_remembered_for_model_and_device(ledger: Ledger) -> None:
    first = _sizes(ledger, Device(room=40)).of(_order())
    assert first in (4, 8, 16, 32)
    # A device that would fail if it were tried again
    assert _sizes(ledger, Device(room=2)).of(_order()) == first


def test_memory_that_runs_out_halves_the_size_until_a_time_has_passed(ledger: Ledger) -> None:
    # Given a batch of 32 that did not fit
    sizes = _sizes(ledger, Device(), fixed=32, larger_again=0.3)
    assert sizes.halve(_order(), 32) == 16
    assert sizes.of(_order()) == 16
    # And one of 16 that did not either
    assert sizes.halve(_order(), 16) == 8
    with ledger.read() as connection:
        known = fleet.learned(connection, fleet.Engine("sha256:00", "cpu", 1, "fp32"))
    assert known is not None
    assert (known.size, known.rate) == (8, None)
    # When some time has passed, then larger ones are tried again
    time.sleep(0.35)
    assert sizes.of(_order()) == 32


def test_a_process_that_inherits_a_halved_size_tries_larger_again_too(ledger: Ledger) -> None:
    _sizes(ledger, Device()).halve(_order(), 32)
    heir = _sizes(ledger, Device(), larger_again=0.3)
    assert heir.of(_order()) == 16
    time.sleep(0.35)
    assert heir.of(_order()) == 32


def test_a_size_that_a_person_asks_for_counts_and_is_halved_all_the_same(ledger: Ledger) -> None:
    sizes = _sizes(ledger, Device())
    assert sizes.of(_order(batch_size=3)) == 3
    sizes.halve(_order(batch_size=64), 64)
    assert sizes.of(_order(batch_size=64)) == 32


@pytest.mark.skipif(memory.free("cpu") is None, reason="this system does not say how much memory is free")
def test_a_batch_takes_no_more_than_is_free_just_now(ledger: Ledger) -> None:
    # Given pictures of 30 MB each, of which 10,000 were asked for
    sizes = _sizes(ledger, Device(bytes_each=30_000_000), fixed=10_000)
    free = memory.free("cpu")
    assert free is not None
    # Then no more are batched than fit
    assert 1 <= sizes.of(_order()) <= free // 25_000_000 + 1


def test_what_a_block_takes_is_measured() -> None:
    with memory.peak("cpu") as taken:
        np.ones(100_000_000, np.uint8)
    if taken.bytes == 0:
        pytest.skip("this system does not say what was taken")
    assert 90_000_000 < taken.bytes < 200_000_000
    with memory.peak("mps") as unknown:
        pass
    assert unknown.bytes == 0


def test_devices_that_cannot_tell_are_not_asked() -> None:
    assert memory.free("mps") is None
