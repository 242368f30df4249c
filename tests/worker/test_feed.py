"""The feed: what needs no model is handed over to be stored as it comes, not when the queue is empty."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from blipq.models import intake, recipes, results, weights
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.migrate import ensure_schema
from blipq.models.recipes import Recipe
from blipq.models.results import Failed, Origin
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.claims import Claims
from blipq.worker.engine.picture import Limits
from blipq.worker.engine.pool import DecodePool
from blipq.worker.feed import SETTLED_MOST, Feed
from blipq.worker.model_cache import ModelCache
from blipq.worker.orders import Order
from blipq.worker.standing import Standing
from blipq.worker.storage import Storage


@pytest.fixture
def settings(home: Path) -> Settings:
    home.mkdir(mode=0o700)
    return Settings(home=home, batch_size=512, decode_memory=1_000_000_000, device="cpu")


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    made = Ledger(settings.ledger_url)
    ensure_schema(made)
    return made


@pytest.fixture
def feed(settings: Settings, ledger: Ledger) -> Iterator[Feed]:
    standing = Standing(ledger, settings, "caption", "cpu", "tests")
    models = ModelCache(ledger, settings, standing.show)
    sizes = BatchSizes(ledger, settings.batch_size)
    limits = Limits(settings.max_pixels, settings.max_bytes, settings.decode_memory, settings.decode_seconds)
    with DecodePool(1, limits) as pool:
        claims = Claims(standing, settings, models, sizes)
        yield Feed(ledger, settings, claims, models, sizes, pool, Storage())
    models.close()


def _enqueue_broken(ledger: Ledger, folder: Path, count: int) -> None:
    """A job of files that are no pictures."""
    found = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        path.write_text("no picture at all")
        found.append(Found(str(path), path.stat().st_size, path.stat().st_mtime_ns))
    with ledger.write() as connection:
        model = weights.resolve(connection, "demo")
        recipe = recipes.record(connection, Recipe(model.id), model.pinned)
        job = intake.open_job(
            connection,
            kind="caption",
            source="broken",
            model=model.pinned,
            recipe_id=recipe,
            parameters={"paths": [str(folder)]},
            priority=0,
        )
        # Units grow with what came before: this one call stands for the end of a large folder
        intake.take_in(connection, job, recipe, found, again=False, so_far=10_000)
        intake.close_job(connection, job)


def test_a_folder_of_broken_pictures_is_stored_as_it_goes(ledger: Ledger, feed: Feed, tmp_path: Path) -> None:
    # Given more broken pictures than are kept back, all of which one worker may claim at once
    count = 2 * SETTLED_MOST
    _enqueue_broken(ledger, tmp_path, count)
    # When the feed is asked for batches
    sizes = []
    while sum(sizes) < count:
        batch = feed.next_batch()
        assert batch is not None
        assert not batch.tasks
        assert all(isinstance(outcome, Failed) for _, outcome in batch.settled)
        sizes.append(len(batch.settled))
    # Then they come in parts
    assert len(sizes) > 1
    assert max(sizes) < 2 * SETTLED_MOST


def test_nothing_is_kept_of_jobs_that_are_over(ledger: Ledger, feed: Feed, tmp_path: Path) -> None:
    """A worker that is never idle takes on job after job for months."""
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        _enqueue_broken(ledger, folder, 1)
        batch = feed.next_batch()
        assert batch is not None
        (order, failed) = batch.settled[0]
        with ledger.write() as connection:
            results.store(connection, [failed], Origin(order.recipe_id, 1, replace=False), 30)
        feed.after_store(set(), set())
        del batch, order, failed
    assert feed.next_batch() is None
    gc.collect()
    assert [one for one in gc.get_objects() if type(one) is Order] == []
