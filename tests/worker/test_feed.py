"""The feed: what needs no model is handed over to be stored as it comes, not when the queue is empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from blipq.models import intake, recipes, weights
from blipq.models.database import Ledger
from blipq.models.intake import Found
from blipq.models.migrate import ensure_schema
from blipq.models.recipes import Recipe
from blipq.models.results import Failed
from blipq.settings import Settings
from blipq.worker.batch_sizes import BatchSizes
from blipq.worker.claims import Claims
from blipq.worker.engine.picture import Limits
from blipq.worker.engine.pool import DecodePool
from blipq.worker.feed import SETTLED_MOST, Feed
from blipq.worker.model_cache import ModelCache
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


def test_a_folder_of_broken_pictures_is_stored_as_it_goes(ledger: Ledger, feed: Feed, tmp_path: Path) -> None:
    # Given more broken pictures than are kept back, all of which one worker may claim at once
    count = 2 * SETTLED_MOST
    found = []
    for number in range(count):
        path = tmp_path / f"{number}.jpg"
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
            parameters={"paths": [str(tmp_path)]},
            priority=0,
        )
        # Units grow with what came before: this one call stands for the end of a large folder
        intake.take_in(connection, job, recipe, found, again=False, so_far=10_000)
        intake.close_job(connection, job)
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
