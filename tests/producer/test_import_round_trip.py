"""What was exported and comes back unchanged changes nothing; what a person changed is one edit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from blipq.models import recipes, schema
from blipq.models.recipes import Recipe
from blipq.models.selection import Selection
from blipq.producer.export.order import Order, export
from blipq.producer.export.sidecar import merged
from blipq.producer.export.tabular import plain_cell, safe_cell
from blipq.producer.import_captions import Imported, import_captions
from blipq.producer.wording import tidy, words
from blipq.settings import Settings
from blipq.worker.engine.identity import identify

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60).filter(tidy)
NAMES = (b"a b,\"c'.jpg", "cafe\u0301.jpg".encode(), b"\xff.jpg", b"=1;\\n.png")
ODD = ["two\nlines\n\nand more", "  'spaced'  ", "'=1+1", "\u05d0\u05d1 cafe\u0301 \U0001f415, \u202e", "a\r\nb\rc"]


def texts_of(library: Any, texts: list[str]) -> None:
    """Models' captions of the photos, and nobody else's words."""
    with library.ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM edit")
        for image_id, text in enumerate(texts, 1):
            connection.exec_driver_sql("UPDATE caption SET text = ? WHERE image_id = ?", (text, image_id))


def out(library: Any, to: str, into: Path | None) -> Path:
    photos = Selection(where=f"path LIKE '{library.folder}/%'")  # and not their copies in a data set
    export(library.ledger, Settings(), Order(to, photos, into, existing="replace"))
    return into or library.folder


def take(library: Any, path: Path) -> Imported:
    return import_captions(library.ledger, [str(path)], ".txt", "maria", dry_run=False)


@pytest.fixture
def four(library: Any) -> Any:
    for name in NAMES:
        path = library.photo(name)
        library.caption(path, "x", sha256=identify(Path(os.fsdecode(path)).read_bytes()))
    return library


@pytest.mark.parametrize("to", ["txt", "jsonl", "csv", "imagefolder"])
def test_an_export_that_comes_back_makes_no_edit_and_a_correction_one(four: Any, tmp_path: Path, to: str) -> None:
    into = None if to == "txt" else tmp_path / ("set" if to == "imagefolder" else f"out.{to}")

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts=st.lists(TEXTS, min_size=4, max_size=4), at=st.integers(0, 3), correction=TEXTS)
    @example(texts=ODD[:4], at=0, correction=ODD[4])
    @example(texts=ODD[1:], at=2, correction="=two\nlines")
    def holds(texts: list[str], at: int, correction: str) -> None:
        texts_of(four, texts)
        back = take(four, out(four, to, into))
        assert (back.found, back.known, back.changed, back.failed) == (4, 4, 0, 0)
        # When a person corrects one of them, where it is exported
        texts_of(four, [*texts[:at], correction, *texts[at + 1 :]])
        exported = out(four, to, into)
        texts_of(four, texts)
        corrected = take(four, exported)
        # Then that one is theirs, in their words
        changed = int(words(correction) != words(texts[at]))
        assert (corrected.found, corrected.known, corrected.changed) == (4, 4 - changed, changed)
        with four.ledger.read() as connection:
            edits = connection.exec_driver_sql("SELECT image_id, text FROM edit").all()
        assert edits == [(at + 1, tidy(correction))] * changed

    holds()


def test_an_older_models_caption_that_comes_back_is_nobodys_correction(either_library: Any) -> None:
    library = either_library
    path = library.photo("a.jpg")
    image = library.caption(path, "an older caption")
    (library.folder / "a.txt").write_text("an older caption\n")
    with library.ledger.write() as connection:
        newer = recipes.record(connection, Recipe(weights="sha256:newer"), "newer")
        said = {"image_id": image, "recipe_id": newer, "text": "a newer caption", "score": -1}
        connection.execute(insert(schema.caption).values(said))
    done = take(library, library.folder)
    assert (done.known, done.changed) == (1, 0)
    # and with another's words it is one
    (library.folder / "a.txt").write_text("my own")
    assert take(library, library.folder).changed == 1


def test_the_same_words_in_another_form_are_the_same(library: Any) -> None:
    library.caption(library.photo("a.jpg"), "a caf\u00e9\nand tea")
    for same in ("a cafe\u0301\r\nand tea\n\n", "\ufeffa caf\u00e9\nand tea"):
        (library.folder / "a.txt").write_text(same, newline="")
        assert take(library, library.folder).changed == 0
    # and other words are kept as they were written
    (library.folder / "a.txt").write_text("a cafe\u0301\r\n\r\nor tea \n", newline="")
    take(library, library.folder)
    with library.ledger.read() as connection:
        assert connection.exec_driver_sql("SELECT text FROM edit").scalar_one() == "a cafe\u0301\n\nor tea"


@given(text=st.text())
def test_a_cell_comes_back_from_a_spreadsheet(text: str) -> None:
    assert plain_cell(safe_cell(text)) == text
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(there=TEXTS, caption=TEXTS)
def test_what_is_appended_is_there_once_and_nothing_is_lost(there: str, caption: str) -> None:
    made = merged(there, caption, "append")
    after = tidy(there) if made is None else made
    assert after.startswith(tidy(there))
    assert words(caption) in words(after)
    assert merged(after, caption, "append") is None


@pytest.mark.parametrize(
    ("there", "caption", "after"),
    [
        ("catalogue, 1girl", "cat", "catalogue, 1girl, cat"),
        ("1girl, cat\n", "cat", None),
        ("black cat, dog", "cat, dog", "black cat, dog, cat, dog"),
        ("a cat, dog, x", "a cat, dog", None),
        ("one\ntwo", "two", None),
        ("cafe\u0301", "caf\u00e9", None),
    ],
)
def test_tags_are_compared_whole(there: str, caption: str, after: str | None) -> None:
    assert merged(there, caption, "append") == after
