"""What this host cannot see is not gone: neither collected nor forgotten, unless a person says so and how many."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blipq.models import edits
from blipq.producer import forget
from blipq.producer.presence import look
from blipq.settings import Settings


def collect(library: Any, *, unseen: bool = False, dry_run: bool = False) -> forget.Collected:
    return forget.collect(library.ledger, Settings(), look(library.ledger), unseen=unseen, dry_run=dry_run)


def captioned(library: Any, *names: str) -> list[bytes]:
    paths = [library.photo(name) for name in names]
    for path in paths:
        library.caption(path, "x")
    return paths


def _unmounted(disk: Path) -> None:
    shutil.rmtree(disk)
    disk.mkdir()


def _dangling(disk: Path) -> None:
    shutil.rmtree(disk)
    disk.symlink_to("/nowhere/at/all")


def _another_disk(disk: Path) -> None:
    shutil.rmtree(disk / "a")
    (disk / "somebody-else").mkdir()
    (disk / "somebody-else" / "x.jpg").touch()


def _another_card(disk: Path) -> None:
    # Cameras give the same names again: one photo of each name, none of ours
    shutil.rmtree(disk)
    (disk / "a").mkdir(parents=True)
    (disk / "a" / "0.jpg").write_bytes(b"of another card")


def _a_file_in_its_place(disk: Path) -> None:
    shutil.rmtree(disk)
    disk.touch()


def _a_circle(disk: Path) -> None:
    shutil.rmtree(disk)
    disk.symlink_to(disk)


def _too_long(disk: Path) -> None:
    shutil.rmtree(disk)
    disk.symlink_to("x" * 300)  # the operating system answers with an error of its own


@pytest.mark.parametrize(
    "away",
    [shutil.rmtree, _unmounted, _dangling, _another_disk, _another_card, _a_file_in_its_place, _a_circle, _too_long],
    ids=lambda function: function.__name__,
)
def test_photos_that_are_not_seen_with_their_whole_folder_are_kept_and_said(
    either_library: Any, away: Callable[[Path], None]
) -> None:
    # Given photos on a disk and elsewhere, and the disk goes
    library = either_library
    captioned(library, "here.jpg", *(f"disk/a/{n}.jpg" for n in range(5)))
    away(library.folder / "disk")
    # When garbage is collected
    collected = collect(library)
    # Then nothing of them is, and they are counted by what is away
    assert (collected.rows.photos, library.count("file"), library.count("caption")) == (0, 6, 6)
    [(folder, photos)] = collected.unseen.items()
    assert (photos >= 4, Path(folder).is_relative_to(library.folder / "disk")) == (True, True)
    # And they go when that is said, while a rehearsal takes nothing
    assert collect(library, unseen=True, dry_run=True).rows.photos == photos
    assert library.count("file") == 6
    assert collect(library, unseen=True).rows.photos == photos
    assert library.count("file") == 6 - photos


def test_the_folder_that_is_named_is_the_topmost_that_is_away(library: Any) -> None:
    captioned(library, "here.jpg", "nas/2023/a/1.jpg", "nas/2024/2.jpg")
    shutil.rmtree(library.folder / "nas")
    assert collect(library).unseen == {str(library.folder / "nas"): 2}
    (library.folder / "nas").mkdir()
    assert collect(library).unseen == {str(library.folder / "nas"): 2}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_says_nothing_about_its_photos(library: Any) -> None:
    captioned(library, "locked/1.jpg", "locked/2.jpg")
    (library.folder / "locked").chmod(0)
    try:
        collected = collect(library)
    finally:
        (library.folder / "locked").chmod(0o755)
    assert (collected.rows.photos, collected.unseen.total()) == (0, 2)


def test_a_photo_missing_from_among_others_is_gone(either_library: Any) -> None:
    library = either_library
    paths = captioned(library, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    os.unlink(paths[0])
    os.unlink(paths[2])
    # a/2.jpg witnesses that a is the folder we know; of b nothing is left
    collected = collect(library)
    assert (collected.rows.photos, collected.unseen) == (1, {str(library.folder / "b"): 1})


def test_a_witness_is_a_photo_as_it_was(library: Any) -> None:
    paths = captioned(library, "a/1.jpg", "a/2.jpg")
    os.unlink(paths[0])
    os.utime(paths[1], (1, 1))
    assert collect(library).rows.photos == 0


def test_a_disk_that_goes_while_garbage_is_collected_takes_no_photo_along(library: Any) -> None:
    paths = captioned(library, "disk/1.jpg", "disk/2.jpg")
    os.unlink(paths[0])
    seen = look(library.ledger)
    shutil.rmtree(library.folder / "disk")
    assert forget.collect(library.ledger, Settings(), seen, dry_run=False).rows.photos == 0
    # and one that came back meanwhile is no longer missing
    for name in ("disk/1.jpg", "disk/2.jpg"):
        library.photo(name)
    assert forget.collect(library.ledger, Settings(), seen, dry_run=False).rows.photos == 0


def test_what_people_wrote_of_unseen_photos_stays(library: Any) -> None:
    [path] = captioned(library, "disk/1.jpg")
    with library.ledger.write() as connection:
        image = connection.exec_driver_sql("SELECT image_id FROM file").scalar_one()
        edits.write_edit(connection, image, "mine", "me")
    shutil.rmtree(library.folder / "disk")
    gone = collect(library, unseen=True).rows
    assert (gone.photos, gone.edits, library.count("edit")) == (1, 0, 1)
    assert path


def test_the_commands_take_the_number_of_what_they_cannot_see(library: Any, blipq: Any) -> None:
    # Given 3 photos on a disk that is away
    captioned(library, "here.jpg", *(f"disk/{n}.jpg" for n in range(3)))
    shutil.rmtree(library.folder / "disk")
    disk = library.folder / "disk"
    # Then gc keeps and says them
    kept = blipq("gc")
    assert (kept.returncode, f"3 photos under {disk} are not seen from here: kept" in kept.stderr) == (0, True)
    rehearsed = json.loads(blipq("gc", "--dry-run", "--json").stdout)
    assert (rehearsed["photos"], rehearsed["absent"]) == (0, {str(disk): 3})
    assert json.loads(blipq("gc", "--dry-run", "--unseen", "--json").stdout)["photos"] == 3
    # and takes them for no other number, nor without an answer
    for answer in ("", "y\n", "2\n"):
        refused = blipq("gc", "--unseen", stdin=answer)
        assert (refused.returncode, library.count("file")) == (2, 4)
    # and forget does not either
    for arguments in ((), ("--yes",)):
        refused = blipq("forget", disk, *arguments)
        assert (refused.returncode, library.count("file")) == (2, 4)
        assert "3 of 3 photos" in refused.stderr
    assert "3 of these photos are not seen" in blipq("forget", disk, "--dry-run").stderr
    assert blipq("forget", disk, "--unseen", stdin="1\n").returncode == 2
    # but one photo is known by its name, wherever it is
    assert blipq("forget", disk / "0.jpg").returncode == 0
    assert library.count("file") == 3
    assert blipq("forget", disk, "--unseen", stdin="2\n").returncode == 0
    assert library.count("file") == 1
    assert blipq("gc", "--unseen", "--yes").returncode == 0
    assert library.count("file") == 1
