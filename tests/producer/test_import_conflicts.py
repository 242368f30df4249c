"""Own words of two photos with one content are never collapsed: they agree, or both are named and both stay."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from blipq.models.selection import Selection
from blipq.producer.export.order import Order, export
from blipq.producer.import_captions import Imported, import_captions
from blipq.settings import Settings
from blipq.worker.engine.identity import identify


def take(library: Any, *paths: Path, dry_run: bool = False) -> Imported:
    return import_captions(library.ledger, [str(path) for path in paths], ".txt", "maria", dry_run=dry_run)


def replaced(library: Any) -> Any:
    return export(library.ledger, Settings(), Order("txt", Selection(), existing="replace"))


def human(library: Any) -> list[str]:
    with library.ledger.read() as connection:
        rows = connection.exec_driver_sql("SELECT DISTINCT caption FROM photos WHERE source = 'human'")
        return sorted(rows.scalars())


@pytest.fixture
def twins(either_library: Any) -> Any:
    """One picture in two folders, and another."""
    library = either_library
    path = Path(os.fsdecode(library.photo("a/1.jpg")))
    (library.folder / "b").mkdir()
    shutil.copy(path, library.folder / "b" / "1.jpg")
    library.photo("c/2.jpg")
    library.texts = [library.folder / "a" / "1.txt", library.folder / "b" / "1.txt"]
    return library


def captioned(library: Any, text: str = "by a model") -> None:
    for name in ("a/1.jpg", "b/1.jpg"):
        path = library.folder / name
        library.caption(os.fsencode(path), text, sha256=identify(path.read_bytes()))


def write(library: Any, first: str, second: str) -> list[str]:
    library.texts[0].write_text(first)
    library.texts[1].write_text(second)
    return [first, second]


def read(library: Any) -> list[str]:
    return [text.read_text() for text in library.texts]


@pytest.mark.parametrize("known", [False, True])
def test_different_words_are_named_and_both_stay(twins: Any, known: bool) -> None:
    if known:
        captioned(twins)
    there = write(twins, "sks man\n", "a person\n")
    (twins.folder / "c" / "2.txt").write_text("another")
    for dry_run in (True, False):
        done = take(twins, twins.folder, dry_run=dry_run)
        assert (done.found, done.changed, done.conflict) == (3, 1, 2)
        assert [where for where, _ in done.reasons] == [str(text) for text in twins.texts]
        assert all("sks man" in why and "a person" in why for _, why in done.reasons)
    assert human(twins) == ["another"]
    outcome = replaced(twins)
    assert read(twins) == there
    assert outcome.failed == (2 if known else 0)


def test_words_that_agree_are_one_edit(twins: Any) -> None:
    write(twins, "two men\n", "two men")
    done = take(twins, twins.folder)
    assert (done.found, done.changed, done.known, twins.count("edit")) == (2, 1, 1, 1)


def test_a_models_words_contradict_nobody(twins: Any) -> None:
    # Given both captioned and exported, and one of the copies corrected
    captioned(twins)
    replaced(twins)
    twins.texts[0].write_text("my own")
    done = take(twins, twins.folder)
    assert (done.changed, done.known, done.conflict) == (1, 1, 0)
    # Then an export brings the other along, whose words are in the ledger
    assert replaced(twins).failed == 0
    assert read(twins) == ["my own", "my own\n"]
    # And a second correction of one copy contradicts the other, whose words are now a person's
    there = write(twins, "my other own", "my own\n")
    assert take(twins, twins.folder).conflict == 2
    replaced(twins)
    assert (read(twins)[0], human(twins)) == (there[0], ["my own"])
    # Until they agree
    write(twins, "my other own", "my other own")
    assert take(twins, twins.folder).changed == 1
    assert human(twins) == ["my other own"]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_copy_that_comes_later_is_not_collapsed_either(twins: Any, order: tuple[str, str]) -> None:
    captioned(twins)
    there = write(twins, "sks man\n", "a person\n")
    for folder in order:
        assert take(twins, twins.folder / folder).conflict == 1
        assert human(twins) == []
    replaced(twins)
    assert read(twins) == there


def test_a_copy_that_got_its_words_later_keeps_them(twins: Any) -> None:
    captioned(twins)
    twins.texts[0].write_text("sks man\n")
    assert take(twins, twins.folder / "a").changed == 1
    there = write(twins, "sks man\n", "a person\n")
    assert take(twins, twins.folder / "b").conflict == 1
    outcome = replaced(twins)
    assert (read(twins), outcome.failed) == (there, 1)
    assert "same picture" in outcome.reasons[0][1]


def test_one_photo_that_was_moved_can_be_corrected(twins: Any) -> None:
    captioned(twins)
    twins.texts[0].write_text("mine\n")
    take(twins, twins.folder / "a")
    shutil.rmtree(twins.folder / "a")
    twins.texts[1].write_text("mine, corrected")
    assert take(twins, twins.folder).changed == 1
    assert human(twins) == ["mine, corrected"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_tables_are_held_to_the_same(twins: Any, tmp_path: Path, kind: str) -> None:
    captioned(twins)

    def table(**texts: str) -> Path:
        rows = [(str(twins.folder / name / "1.jpg"), text) for name, text in texts.items()]
        lines = [json.dumps({"path": path, "caption": text}) for path, text in rows]
        head = ["path,caption", *(f"{path},{text}" for path, text in rows)]
        made = tmp_path / f"t.{kind}"
        made.write_text("\n".join(head if kind == "csv" else lines))
        return made

    done = take(twins, table(a="sks man", b="a person"))
    assert (done.conflict, done.changed) == (2, 0)
    assert [where.rpartition(", ")[2] for where, _ in done.reasons] == (
        ["line 2", "line 3"] if kind == "csv" else ["line 1", "line 2"]
    )
    # One after the other: the first is taken, the second may not take its place
    assert take(twins, table(a="sks man")).changed == 1
    assert take(twins, table(b="a person")).conflict == 1
    assert human(twins) == ["sks man"]
    # Both rows with the same words are a correction of both
    assert take(twins, table(a="new", b="new")).changed == 1
    assert human(twins) == ["new"]


def test_a_million_texts_need_no_memory_for_conflicts_far_apart(library: Any, tmp_path: Path) -> None:
    # Given rows of one photo a thousand rows apart, which no page sees together
    names = [os.fsdecode(library.photo(f"{n}.jpg")) for n in range(3)]
    for n, name in enumerate(names):
        library.caption(os.fsencode(name), f"caption {n}")
    rows = [{"path": names[0], "caption": "first"}]
    rows += [{"path": names[1], "caption": "the same"}] * 2500
    rows += [{"path": names[0], "caption": "last"}]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    done = take(library, table)
    assert (done.found, done.changed, done.known, done.conflict) == (2502, 1, 2499, 2)
    assert human(library) == ["the same"]


# 1.txt where 1.jpg and 1.png lie together.


def stems(library: Any) -> dict[str, Path]:
    for name in ("1.jpg", "1.png"):
        path = library.photo(name)
        library.caption(path, f"a model's {name}", sha256=identify(Path(os.fsdecode(path)).read_bytes()))
    return {name: library.folder / name for name in ("1.txt", "1.jpg.txt", "1.png.txt")}


def captions(library: Any) -> dict[str, str]:
    with library.ledger.read() as connection:
        return {
            os.path.basename(path): text
            for path, text in connection.exec_driver_sql("SELECT path, caption FROM photos")
        }


def test_each_of_equal_stems_has_its_own_text(library: Any) -> None:
    texts = stems(library)
    texts["1.txt"].write_text("the jpeg")
    texts["1.png.txt"].write_text("the png")
    assert take(library, library.folder).changed == 2
    assert captions(library) == {"1.jpg": "the jpeg", "1.png": "the png"}


@pytest.mark.parametrize("whole", ["1.jpg.txt", "1.png.txt"])
def test_a_text_by_the_whole_name_leaves_the_shorter_to_the_other(library: Any, whole: str) -> None:
    texts = stems(library)
    texts[whole].write_text("by its whole name")
    texts["1.txt"].write_text("the other")
    take(library, library.folder)
    other = {"1.jpg.txt": "1.png", "1.png.txt": "1.jpg"}[whole]
    assert captions(library) == {whole[:-4]: "by its whole name", other: "the other"}
    # and an export writes them where they came from
    assert replaced(library).failed == 0
    assert [texts[name].read_text() for name in (whole, "1.txt")] == ["by its whole name", "the other"]
    assert len(list(library.folder.glob("*.txt"))) == 2


def test_a_text_that_may_be_of_two_photos_is_nobodys_until_it_is_told(library: Any) -> None:
    texts = stems(library)
    texts["1.txt"].write_text("of one of them")
    done = take(library, library.folder)
    assert (done.found, done.conflict) == (1, 1)
    assert "1.jpg or 1.png" in done.reasons[0][1]
    # an export leaves it too, and writes the other's by its whole name
    outcome = replaced(library)
    assert (outcome.failed, texts["1.txt"].read_text(), texts["1.png.txt"].read_text()) == (
        1,
        "of one of them",
        "a model's 1.png\n",
    )


@pytest.mark.parametrize("only", ["1.jpg", "1.png"])
def test_an_export_of_one_touches_its_own_text_alone(library: Any, only: str) -> None:
    texts = stems(library)
    order = Order("txt", Selection(where=f"path LIKE '%{only}'"), existing="replace")
    export(library.ledger, Settings(), order)
    name = {"1.jpg": "1.txt", "1.png": "1.png.txt"}[only]
    assert [text.name for text in texts.values() if text.exists()] == [name]
    # and what comes back is of that one
    assert take(library, library.folder).known == 1
    texts[name].write_text("corrected")
    done = take(library, library.folder)
    assert (done.changed, done.conflict) == ((0, 1) if name == "1.txt" else (1, 0))
