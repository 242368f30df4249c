"""Files that are gone are told from a disk that is gone."""

from __future__ import annotations

from pathlib import Path

from blipq.models.lease import Lease
from blipq.models.results import Work
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.picture import BadImage
from blipq.worker.orders import Kind, Order
from blipq.worker.storage import IN_A_ROW, Storage
from blipq.worker.task import Task

MISSING = BadImage("missing", "there is no such file")
FAILING = BadImage("io", "the storage failed: Input/output error")


def _task(number: int, folder: Path, *sources: Path) -> Task:
    order = Order(
        1, 0, 1, "", 0, Kind("w", "m", Decoding(), "auto"), False, None, tuple(map(str, sources or (folder,)))
    )
    path = str(folder / f"{number}.png")
    work = Work(Lease(number // 8, 1, 1, 0), number, number, path, None, 1, 1, None, captioned=False, twin=False)
    return Task(order, work)


def _disk(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "other.png").touch()
    return folder


def test_a_few_missing_files_of_a_disk_that_is_there_are_failures(tmp_path: Path) -> None:
    storage, folder = Storage(), _disk(tmp_path)
    assert not any(storage.add(_task(n, folder), MISSING) for n in range(IN_A_ROW - 1))
    assert [failed.kind for _, failed in storage.release_all()] == ["missing"] * (IN_A_ROW - 1)  # type: ignore[union-attr]
    assert not list(storage.tasks())


def test_twenty_in_a_row_are_no_accident(tmp_path: Path) -> None:
    storage, folder = Storage(), _disk(tmp_path)
    said = [storage.add(_task(n, folder), FAILING) for n in range(IN_A_ROW)]
    assert said == [False] * (IN_A_ROW - 1) + [True]


def test_a_readable_one_between_them_settles_the_doubt(tmp_path: Path) -> None:
    storage, folder = Storage(), _disk(tmp_path)
    for n in range(IN_A_ROW - 1):
        storage.add(_task(n, folder), MISSING)
    assert len(storage.release(_task(100, folder))) == IN_A_ROW - 1
    assert not storage.add(_task(50, folder), MISSING)


def test_a_root_that_is_gone_or_empty_is_an_unmounted_disk_at_the_first_file(tmp_path: Path) -> None:
    empty = tmp_path / "mount"
    empty.mkdir()
    for folder in (empty, tmp_path / "gone"):
        storage = Storage()
        assert storage.add(_task(1, folder), MISSING)
        # What was read before it went proves nothing
        assert storage.release(_task(2, folder)) == []


def test_a_file_that_was_enqueued_by_its_own_name_and_deleted_is_a_failure(tmp_path: Path) -> None:
    storage, folder = Storage(), _disk(tmp_path)
    task = _task(1, folder, folder / "1.png")
    assert not storage.add(task, MISSING)
    assert len(storage.release_all()) == 1


def test_one_of_several_roots_that_is_there_is_enough(tmp_path: Path) -> None:
    storage, folder = Storage(), _disk(tmp_path)
    assert not storage.add(_task(1, folder, tmp_path / "gone", folder), MISSING)


def test_units_that_were_lost_take_their_doubts_along(tmp_path: Path) -> None:
    storage, folder = Storage(), _disk(tmp_path)
    for n in range(10):
        storage.add(_task(n, folder), MISSING)
    storage.drop({0})
    assert [task.work.item_id for task in storage.tasks()] == [8, 9]


def test_missing_files_are_believed_in_time_only_in_folders_that_are_there(tmp_path: Path) -> None:
    # Given files that are missing, of a disk that is there, and no patience
    folder = _disk(tmp_path)
    storage = Storage(patience=0)
    assert [storage.add(_task(n, folder), MISSING) for n in range(IN_A_ROW)] == [False] * IN_A_ROW
    # Then those below a mount point that is empty, or that went with their folder, are waited for all the same
    (folder / "nas").mkdir()
    for away in (folder / "nas", folder / "gone"):
        storage = Storage(patience=0)
        said = [storage.add(_task(n, away, folder), MISSING) for n in range(IN_A_ROW)]
        assert said == [False] * (IN_A_ROW - 1) + [True]
