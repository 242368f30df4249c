"""Captions by people: single edits, bulk edits, undoing, and what they outlive."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blipq.models import edits
from blipq.models.edits import NoSuchBatch
from blipq.models.selection import Selection
from blipq.producer import edit as editing
from blipq.producer.edit import Change


def captions(library: Any) -> list[str]:
    with library.ledger.read() as connection:
        return list(connection.exec_driver_sql("SELECT caption FROM photos ORDER BY path").scalars())


def run(library: Any, change: Change, **selection: Any) -> Any:
    return editing.edit(library.ledger, Selection(**selection), change, dry_run=False)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (Change(strip="a picture of "), "A picture of a dog", "a dog"),
        (Change(strip="in the background"), "a dog in the background", "a dog"),
        (Change(strip="a dog"), "a dog", "a dog"),  # nothing would be left
        (Change(replace=(("grey", "gray"), ("a ", "one "))), "a grey cat", "one gray cat"),
        (Change(prefix="sks, ", suffix="."), "a cat", "sks, a cat."),
        (Change(strip="x", replace=(("b", "c"),), prefix="d"), "x b", "dc"),
    ],
)
def test_a_change_is_stripping_then_replacing_then_surrounding(change: Change, before: str, after: str) -> None:
    assert change.apply(before) == after


def test_a_bulk_edit_counts_as_a_persons_and_is_undone_as_one(either_library: Any) -> None:
    # Given three photos, two of one content, and one that a person has edited
    library = either_library
    first = library.photo("a.jpg")
    image = library.caption(first, "a picture of a dog", sha256=b"1" * 32)
    library.caption(library.photo("b.jpg"), "", sha256=b"1" * 32)
    library.caption(library.photo("c.jpg"), "a picture of a cat")
    with library.ledger.write() as connection:
        edits.write_edit(connection, image, "a picture of my dog", "me")
    # When all are changed
    done = run(library, Change(strip="a picture of", prefix="sks "))
    # Then each content was changed once, from what the person said
    assert (done.changed, captions(library)) == (2, ["sks my dog", "sks my dog", "sks a cat"])
    # and undoing brings everything back, and undoing that the change
    undone = editing.undo(library.ledger, done.batch)
    assert (undone.changed, undone.kept) == (2, 0)
    assert captions(library) == ["a picture of my dog", "a picture of my dog", "a picture of a cat"]
    with library.ledger.read() as connection:
        sources = connection.exec_driver_sql("SELECT source FROM photos ORDER BY path").scalars().all()
    assert sources == ["human", "human", "model"]
    editing.undo(library.ledger, undone.batch)
    assert captions(library) == ["sks my dog", "sks my dog", "sks a cat"]


def test_undoing_leaves_what_was_edited_since(library: Any) -> None:
    image = library.caption(library.photo("a.jpg"), "a dog")
    library.caption(library.photo("b.jpg"), "a cat")
    done = run(library, Change(prefix="x "))
    with library.ledger.write() as connection:
        edits.write_edit(connection, image, "mine", "me")
    undone = editing.undo(library.ledger, done.batch)
    assert (undone.changed, undone.kept, captions(library)) == (1, 1, ["mine", "a cat"])
    with pytest.raises(NoSuchBatch):
        editing.undo(library.ledger, "no-such")


def test_an_edit_is_undone_and_done_again(library: Any) -> None:
    image = library.caption(library.photo("a.jpg"), "a dog")
    with library.ledger.write() as connection:
        assert edits.undo(connection, image, "me") is None
        edits.write_edit(connection, image, "mine", "me")
        assert edits.undo(connection, image, "me") is None
    assert captions(library) == ["a dog"]
    with library.ledger.write() as connection:
        assert edits.undo(connection, image, "me") == "mine"
    assert captions(library) == ["mine"]


def test_a_job_or_a_condition_limits_what_is_changed(library: Any) -> None:
    paths = [library.photo(f"{name}.jpg") for name in "abc"]
    for path in paths:
        library.caption(path, "x", flag="cut" if path.endswith(b"a.jpg") else None)
    job = library.job(paths[1:])
    assert run(library, Change(prefix="1"), job_id=job).changed == 2
    assert run(library, Change(prefix="2"), where="flag is not null").changed == 1
    assert captions(library) == ["2x", "1x", "1x"]
    assert run(library, Change(replace=(("no", "yes"),))).changed == 0


def test_pages_of_photos_are_all_changed_and_each_once(library: Any) -> None:
    with library.ledger.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO recipe VALUES (1, x'00', 'm', 'w', '', 1, 20, 0, 0, 1, 50, 1, 1, 1, 0, 0, 'p', 0)"
        )
        for at in range(1, 2501):
            connection.exec_driver_sql(f"INSERT INTO image VALUES ({at}, x'{at:064x}', 1, 1, 'JPEG')")
            connection.exec_driver_sql(
                f"INSERT INTO caption (image_id, recipe_id, text, created_at) VALUES ({at}, 1, 'a', 0)"
            )
        for at in range(5000):  # the second half are copies of the first
            connection.exec_driver_sql(
                f"INSERT INTO file (path, size, mtime_ns, image_id) VALUES ('/{at}', 1, 1, {at % 2500 + 1})"
            )
    done = run(library, Change(prefix="1"))
    assert done.changed == 2500
    assert set(captions(library)) == {"1a"}
    assert editing.undo(library.ledger, done.batch).changed == 2500
    assert set(captions(library)) == {"a"}


def test_the_command_shows_changes_and_says_how_to_take_them_back(library: Any, blipq: Any) -> None:
    library.caption(library.photo("a.jpg"), "a dog")
    shown = blipq("edit", "--prefix", "sks ", "--dry-run")
    assert "sks a dog" in shown.stdout
    assert "1 caption would change" in shown.stdout
    assert captions(library) == ["a dog"]
    done = json.loads(blipq("edit", "--prefix", "sks ", "--json").stdout)
    assert captions(library) == ["sks a dog"]
    back = blipq("edit", "--undo", done["batch"])
    assert back.returncode == 0
    assert captions(library) == ["a dog"]


@pytest.mark.parametrize("arguments", [(), ("--undo", "x", "--prefix", "y"), ("--undo", "none")])
def test_what_means_nothing_is_refused(library: Any, blipq: Any, arguments: tuple[str, ...]) -> None:
    done = blipq("edit", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
