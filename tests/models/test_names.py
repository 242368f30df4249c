"""Recipes and weights: equal requests are one row, and a name always means exact weights."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from blipq.models import recipes, weights
from blipq.models.database import Ledger
from blipq.models.recipes import BadRecipe, Recipe
from blipq.models.schema import alias, fingerprint, recipe
from blipq.models.weights import HubUnreachable, UnknownModel


def _model(folder: Path, content: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(content)
    return folder


def test_equal_recipes_are_one_row(ledger: Ledger) -> None:
    with ledger.write() as connection:
        first = recipes.record(connection, Recipe("sha256:1", num_beams=3), "a")
        same = recipes.record(connection, Recipe("sha256:1", num_beams=3), "b")
        other = recipes.record(connection, Recipe("sha256:1", num_beams=2), "a")
        assert first == same != other
        assert connection.scalar(select(func.count(recipe.c.id))) == 2
        assert recipes.read(connection, first) == Recipe("sha256:1", num_beams=3)


def test_what_cannot_matter_makes_no_new_recipe() -> None:
    greedy = Recipe("sha256:1")
    assert replace(greedy, temperature=0.5, seed=7).hash() == greedy.hash()
    assert replace(greedy, do_sample=True, seed=7).hash() != replace(greedy, do_sample=True).hash()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"num_beams": 0}, "--num-beams"),
        ({"top_p": 0.0}, "--top-p"),
        ({"min_new_tokens": 30}, "--min-new-tokens"),
        ({"temperature": -1.0}, "--temperature"),
        ({"do_sample": True, "num_beams": 2}, "sampling"),
    ],
)
def test_a_wrong_parameter_names_its_flag(values: dict[str, object], says: str) -> None:
    with pytest.raises(BadRecipe, match=says):
        Recipe("sha256:1", **values)  # type: ignore[arg-type]


def test_a_folder_is_known_by_content_and_hashed_once(ledger: Ledger, tmp_path: Path) -> None:
    folder = _model(tmp_path / "one", b"x" * 2_000_000)
    twin = _model(tmp_path / "two", b"x" * 2_000_000)
    other = _model(tmp_path / "three", b"y" * 2_000_000)
    with ledger.write() as connection:
        first = weights.resolve(connection, str(folder))
        assert first.id == weights.resolve(connection, str(twin)).id
        assert first.id != weights.resolve(connection, str(other)).id
        assert connection.scalar(select(func.count()).select_from(fingerprint)) == 3
        (folder / "model.safetensors").write_bytes(b"z" * 2_000_000)
        os.utime(folder / "model.safetensors", (1, 1))
        assert weights.resolve(connection, str(folder)).id != first.id


def test_an_alias_leads_to_its_model(ledger: Ledger, tmp_path: Path) -> None:
    folder = _model(tmp_path / "one")
    with ledger.write() as connection:
        there = weights.resolve(connection, str(folder))
        connection.execute(alias.insert().values(name="football", model=str(folder), weights=there.id))
        assert weights.resolve(connection, "football") == there


def test_a_commit_needs_no_network(ledger: Ledger) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    with ledger.write() as connection:
        found = weights.resolve(connection, f"Salesforce/blip-image-captioning-base@{commit}")
    assert found.id == f"hub:Salesforce/blip-image-captioning-base@{commit}"
    assert found.hub == ("Salesforce/blip-image-captioning-base", commit)


@pytest.mark.parametrize("name", ["./nowhere", "a b", "run:7", "a/b/c"])
def test_a_name_that_leads_nowhere_says_so(ledger: Ledger, name: str) -> None:
    with pytest.raises(UnknownModel, match=r"not there|neither|no checkpoint"), ledger.write() as connection:
        weights.resolve(connection, name)


def test_a_folder_without_a_model_says_what_is_missing(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"config\.json"), ledger.write() as connection:
        weights.resolve(connection, str(tmp_path))


def test_a_hub_that_cannot_be_reached_says_within_ten_seconds_what_to_do(ledger: Ledger) -> None:
    began = time.monotonic()
    with pytest.raises(HubUnreachable, match="--model FOLDER"), ledger.write() as connection:
        weights.resolve(connection, "Salesforce/blip-image-captioning-base")
    assert time.monotonic() - began < 10
