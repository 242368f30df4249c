"""What a person wants gone is gone; what somebody still needs stays."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from blipq.models import edits, schema
from blipq.models.control import NoSuchJob
from blipq.models.forget import Forgotten, StillWanted
from blipq.producer import forget
from blipq.producer.presence import look
from blipq.settings import Settings

SETTINGS = Settings()
TABLES = ("file", "image", "caption", "edit", "item", "failure", "job", "unit")


def rows(library: Any) -> dict[str, int]:
    return {table: library.count(table) for table in TABLES}


def test_a_folder_is_forgotten_with_all_that_is_known_of_it_alone(either_library: Any) -> None:
    # Given photos in two folders, one content in both, one edited, all of a job
    library = either_library
    paths = [library.photo(name) for name in ("private/a.jpg", "private/b.jpg", "private2/c.jpg")]
    library.caption(paths[0], "both", sha256=b"1" * 32)
    edited = library.caption(paths[1], "a letter")
    library.caption(paths[2], "both", sha256=b"1" * 32)
    with library.ledger.write() as connection:
        edits.write_edit(connection, edited, "mine", "me")
    library.job(paths)
    before = rows(library)
    # When one folder is rehearsed, and forgotten
    folder = str(library.folder / "private")
    rehearsed = forget.forget_path(library.ledger, SETTINGS, folder, dry_run=True)
    assert rows(library) == before
    gone = forget.forget_path(library.ledger, SETTINGS, folder, dry_run=False)
    # Then what the other folder holds too is still there
    assert gone == rehearsed == Forgotten(2, 1, 1, contents=(hashlib.sha256(paths[1]).digest(),))
    assert rows(library) == before | {"file": 1, "image": 1, "caption": 1, "edit": 0, "item": 1}
    assert Path(folder, "a.jpg").exists()
    assert forget.forget_path(library.ledger, SETTINGS, folder, dry_run=False) == Forgotten()


def test_a_thumbnail_goes_with_its_photo(library: Any, home: Path) -> None:
    path = library.photo("a.jpg")
    library.caption(path, "a letter", sha256=b"\xab" * 32)
    shown = [home / "thumbs" / side / "ab" / f"{'ab' * 32}.jpg" for side in ("400", "1600")]
    other = home / "thumbs" / "400" / "ab" / f"ab{'cd' * 31}.jpg"
    for each in (*shown, other):
        each.parent.mkdir(parents=True, exist_ok=True)
        each.touch()
    forget.forget_path(library.ledger, Settings(home=home), os.fsdecode(path), dry_run=True)
    assert all(each.exists() for each in shown)
    forget.forget_path(library.ledger, Settings(home=home), os.fsdecode(path), dry_run=False)
    assert [each.exists() for each in (*shown, other)] == [False, False, True]


def test_uploads_that_are_ours_go_from_the_disk_too(library: Any, home: Path) -> None:
    kept = library.photo(os.fsencode(home / "uploads" / "1" / "a.jpg"))
    beside = library.photo(os.fsencode(home / "uploads2" / "b.jpg"))
    for path in (kept, beside):
        library.caption(path, "x")
    for path in (home / "uploads" / "1", home / "uploads2"):
        forget.forget_path(library.ledger, Settings(home=home), str(path), dry_run=True)
        assert path.exists()
        forget.forget_path(library.ledger, Settings(home=home), str(path), dry_run=False)
    assert (os.path.exists(kept), os.path.exists(beside), library.count("file")) == (False, True, 0)


def test_photos_of_an_open_job_are_not_forgotten(library: Any) -> None:
    path = library.photo("a.jpg")
    library.caption(path, "a dog")
    job = library.job([path], state="queued")
    before = rows(library)
    with pytest.raises(StillWanted, match=f"blipq cancel {job}"):
        forget.forget_path(library.ledger, SETTINGS, os.fsdecode(path), dry_run=False)
    with pytest.raises(StillWanted, match=f"blipq cancel {job}"):
        forget.forget_job(library.ledger, job, dry_run=False)
    assert rows(library) == before


def test_a_cancelled_job_counts_what_is_left_of_it(library: Any) -> None:
    from blipq.models import control, status

    paths = [library.photo(f"{name}.jpg") for name in "ab"]
    for path in paths:
        library.caption(path, "x")
    job = library.job(paths, state="queued")
    with library.ledger.write() as connection:
        control.cancel(connection, job)
    forget.forget_path(library.ledger, SETTINGS, os.fsdecode(paths[0]), dry_run=False)
    with library.ledger.write() as connection:
        assert control.retry(connection, job, everything=True) == 1
        [seen] = status.jobs(connection, job_id=job)
    assert seen.remaining == 1


def test_a_job_takes_the_captions_along_that_it_alone_asked_for(either_library: Any) -> None:
    library = either_library
    paths = [library.photo(f"{name}.jpg") for name in "abc"]
    images = [library.caption(path, "x") for path in paths]
    first = library.job(paths[:2])
    library.job(paths[1:])
    with library.ledger.write() as connection:
        edits.write_edit(connection, images[0], "mine", "me")
    before = rows(library)
    rehearsed, _ = forget.forget_job(library.ledger, first, dry_run=True)
    assert rows(library) == before
    gone, _ = forget.forget_job(library.ledger, first, dry_run=False)
    assert gone == rehearsed == Forgotten(captions=1, jobs=1)
    assert rows(library) == before | {"caption": 2, "item": 2, "job": 1, "unit": 1}
    with pytest.raises(NoSuchJob):
        forget.forget_job(library.ledger, first, dry_run=False)


@pytest.mark.parametrize(
    ("place", "source", "kept"),
    [
        ("", "photos", 3),  # the folder of all of them
        ("sub", "photos/sub", 1),
        ("sub/c.jpg", "c.jpg", 1),
        ("sub2", "photos/sub2", 0),
        (None, "-", 3),  # a list on stdin: nobody knows what was on it
        ("sub", "photos/sub photos/*.jpg", 3),
    ],
)
def test_captions_that_another_job_found_there_already_stay(
    either_library: Any, place: str | None, source: str, kept: int
) -> None:
    # Given a job's captions, and another of the same recipe that found its photos captioned
    library = either_library
    paths = [library.photo(name) for name in ("a.jpg", "b.jpg", "sub/c.jpg")]
    for path in paths:
        library.caption(path, "x")
    first, second = library.job(paths), library.job([])
    places = [] if place is None else [str(library.folder / place)]
    values = {"skipped": 3, "source": source, "parameters": json.dumps({"paths": places})}
    with library.ledger.write() as connection:
        connection.execute(schema.job.update().where(schema.job.c.id == second).values(values))
    # When the first is forgotten, what the second counts on stays
    gone, _ = forget.forget_job(library.ledger, first, dry_run=False)
    assert gone == Forgotten(captions=3 - kept, jobs=1)
    assert rows(library)["caption"] == kept


def test_garbage_is_what_nothing_leads_to(either_library: Any) -> None:
    # Given a photo on disk, one that is gone, one that is gone and was edited, an upload, and an old worker
    library = either_library
    paths = [library.photo(f"{name}.jpg") for name in "abc"]
    images = [library.caption(path, "x") for path in paths]
    with library.ledger.write() as connection:
        edits.write_edit(connection, images[2], "mine", "me")
        connection.exec_driver_sql("INSERT INTO file (path, size, mtime_ns) VALUES ('upload:1', 1, 1)")
        connection.exec_driver_sql(
            "INSERT INTO worker (name, host, pid, queue, versions, state, started_at, seen_at)"
            " VALUES ('w', 'h', 1, 'caption', '', 'stopped', 1, 1)"
        )
    for path in paths[1:]:
        os.unlink(path)
    # When it is collected
    collected = forget.collect(library.ledger, Settings(), look(library.ledger), dry_run=False)
    # Then the person's words are still there, for when the photo turns up again
    assert collected.rows == Forgotten(3, 1, workers=1, contents=(hashlib.sha256(paths[1]).digest(),))
    assert rows(library) == dict.fromkeys(TABLES, 0) | {"file": 1, "image": 2, "caption": 2, "edit": 1}
    assert forget.collect(library.ledger, Settings(), look(library.ledger), dry_run=False).rows == Forgotten()


def test_old_logs_and_thumbnails_are_garbage(library: Any, home: Path) -> None:
    old, young = home / "log" / "blipq.log.1", home / "thumbs" / "aa" / "b.jpg"
    for path in (old, young):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    os.utime(old, (1, time.time() - 40 * 86400))
    collected = forget.collect(library.ledger, Settings(home=home), look(library.ledger), dry_run=False)
    assert (collected.files, collected.bytes) == (1, 5)
    assert (old.exists(), young.exists()) == (False, True)


def test_the_commands_answer_in_json_and_by_their_status(library: Any, blipq: Any) -> None:
    path = library.photo("a.jpg")
    library.caption(path, "x")
    assert json.loads(blipq("gc", "--dry-run", "--json").stdout)["photos"] == 0
    gone = blipq("forget", path, "--json")
    assert (gone.returncode, json.loads(gone.stdout)["captions"]) == (0, 1)
    assert blipq("forget", path).returncode == 1
    assert blipq("forget", "99").returncode == 2
