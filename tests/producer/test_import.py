"""Captions from elsewhere become a person's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from blipq.models.selection import Selection
from blipq.producer.errors import UserError
from blipq.producer.export.order import Order, export
from blipq.producer.import_captions import import_captions
from blipq.settings import Settings
from blipq.worker.engine.identity import identify


def take(library: Any, *paths: Path, extension: str = ".txt", dry_run: bool = False) -> Any:
    return import_captions(library.ledger, [str(path) for path in paths], extension, "maria", dry_run=dry_run)


def captions(library: Any) -> dict[str, tuple[str, str]]:
    with library.ledger.read() as connection:
        rows = connection.exec_driver_sql("SELECT path, caption, source FROM photos WHERE caption IS NOT NULL")
        return {os.path.relpath(path, library.folder): (caption, source) for path, caption, source in rows}


def test_texts_beside_photos_come_in_as_a_persons(either_library: Any) -> None:
    library = either_library
    # Given photos with text files, one without, one without words, and one that a model has captioned
    for name, text in (("a/1.jpg", "a dog\n"), ("b/1.jpg", " two\nlines "), ("b/2.jpg", ""), ("c.jpg", "by hand")):
        path = Path(os.fsdecode(library.photo(name)))
        path.with_suffix(".txt").write_text(text)
    library.photo("b/1.png")
    (library.folder / "b/1.png.txt").write_text("the png")
    library.photo("none.jpg")
    library.caption(os.fsencode(library.folder / "c.jpg"), "by a model")
    # When they are imported, twice
    first = take(library, library.folder)
    again = take(library, library.folder)
    # Then each is there once, and nothing of the photos had to be captioned
    assert (first.found, first.changed, first.empty) == (5, 4, 1)
    assert (again.changed, again.known) == (0, 4)
    assert captions(library) == {
        "a/1.jpg": ("a dog", "human"),
        "b/1.jpg": ("two\nlines", "human"),
        "b/1.png": ("the png", "human"),
        "c.jpg": ("by hand", "human"),
    }
    assert library.count("edit") == 4
    with library.ledger.read() as connection:
        [sha256] = connection.exec_driver_sql(
            f"SELECT sha256 FROM image JOIN file ON image.id = image_id WHERE path = '{library.folder}/a/1.jpg'"
        ).scalars()
    assert bytes(sha256) == identify((library.folder / "a/1.jpg").read_bytes())


def test_what_is_exported_comes_in_again(library: Any, tmp_path: Path) -> None:
    texts = ["=1+2", "a dog, a cat", 'say "é"\u2028']
    for at, text in enumerate(texts):
        path = library.photo(f"{at}.jpg")
        library.caption(path, text, sha256=identify(Path(os.fsdecode(path)).read_bytes()))
    for to, name in (("csv", "out.csv"), ("jsonl", "out.jsonl"), ("imagefolder", "set")):
        export(library.ledger, Settings(), Order(to, Selection(), tmp_path / name))
        done = take(library, tmp_path / name)
        assert (done.found, done.known, done.changed, done.failed) == (3, 3, 0, 0)
    said = captions(library)
    assert [said[f"{at}.jpg"][0] for at in range(3)] == texts


def test_photos_that_are_not_on_this_disk_are_known_by_their_path(library: Any, tmp_path: Path) -> None:
    gone = library.photo("gone.jpg")
    library.caption(gone, "by a model")
    os.unlink(gone)
    table = tmp_path / "t.jsonl"
    rows = [{"path": os.fsdecode(gone), "caption": "mine"}, {"path": "/never/seen.jpg", "caption": "x"}, {"path": 1}]
    table.write_text("\n".join(map(json.dumps, rows)) + "\nno json\n\n")
    done = take(library, table)
    assert (done.changed, done.failed) == (1, 3)
    assert [reason for _, reason in done.reasons] == [
        "no path or no caption",
        "no JSON object",
        "/never/seen.jpg: not there",
    ]
    assert captions(library) == {"gone.jpg": ("mine", "human")}


def test_a_dry_run_writes_nothing(library: Any) -> None:
    library.photo("a.jpg")
    (library.folder / "a.txt").write_text("a dog")
    assert take(library, library.folder, dry_run=True).changed == 1
    assert library.count("edit") == library.count("file") == 0


def test_files_that_are_no_pictures_are_named(library: Any) -> None:
    (library.folder / "a.jpg").write_text("no picture")
    (library.folder / "a.caption").write_text("a dog")
    done = take(library, library.folder, extension=".caption")
    assert (done.changed, done.failed) == (0, 1)
    assert "not a picture" in done.reasons[0][1]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "a,b\n1,2\n", "no column for photos"),
        ("t.csv", "path,b\n1,2\n", "no column for captions"),
        ("t.xlsx", "", ".jsonl and .csv"),
        ("t.jsonl", "", "no captions"),
        ("lost", None, "not there"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(
    library: Any, tmp_path: Path, name: str, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says):
        take(library, tmp_path / name)


def test_the_command_takes_an_import_back(library: Any, blipq: Any) -> None:
    library.photo("a.jpg")
    (library.folder / "a.txt").write_text("a dog")
    done = blipq("import", library.folder, "--author", "maria", "--json")
    assert done.returncode == 0, done.stderr
    batch = json.loads(done.stdout)["batch"]
    assert captions(library) == {"a.jpg": ("a dog", "human")}
    assert blipq("edit", "--undo", batch).returncode == 0
    assert captions(library) == {}
