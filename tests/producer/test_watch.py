"""Watching a folder: what is new, moved, slow or already there."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blipq.producer.enqueue import Enqueued, Request
from blipq.producer.errors import UserError
from blipq.producer.watch import watch
from blipq.settings import Settings

pytest.importorskip("watchfiles", reason="pip install 'blipq[watch]'")


class Watcher:
    """A watch in a thread of its own; `redis_url` points nowhere, so that no daemon is started and nothing captions."""

    def __init__(self, library: Any, home: Path) -> None:
        self.library = library
        self.jobs: list[Enqueued] = []
        self.stop = threading.Event()
        settings = Settings(home=home, redis_url="redis://127.0.0.1:1/0")
        request = Request((), "demo", watched=(str(library.folder),))
        arguments = (library.ledger, settings, request, self.stop, self.jobs.append)
        self.thread = threading.Thread(target=watch, args=arguments)
        self.thread.start()

    def wait(self, paths: int) -> list[str]:
        """The names of all queued items, once there are so many."""
        end = time.monotonic() + 20
        query = "SELECT file.path FROM item JOIN file ON file.id = item.file_id ORDER BY item.id"
        while time.monotonic() < end:
            with self.library.ledger.read() as connection:
                found = connection.exec_driver_sql(query).scalars().all()
            if len(found) >= paths:
                return [os.path.relpath(path, self.library.folder) for path in found]
            time.sleep(0.05)
        raise AssertionError(f"{len(found)} photos were queued: {found}")

    def end(self) -> None:
        self.stop.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.fixture
def watcher(library: Any, home: Path) -> Iterator[Watcher]:
    library.photo("before.jpg")
    library.photo(".hidden/no.jpg")
    watching = Watcher(library, home)
    yield watching
    watching.end()


def test_what_was_there_and_what_comes_is_queued_a_burst_a_job(watcher: Watcher, tmp_path: Path) -> None:
    # Given a folder with a photo
    library = watcher.library
    assert watcher.wait(1) == ["before.jpg"]
    # When several come at once, in a new folder, in one that is moved here, and what is no photo
    for name in ("a.jpg", "deep/er/b.jpg", "moved/d.jpg"):
        library.photo(f"../{name}")
    library.photo(".c.jpg.part")
    (library.folder / "new" / "er").mkdir(parents=True)
    (tmp_path / "a.jpg").rename(library.folder / "a.jpg")  # made elsewhere: a busy machine makes no second burst
    (tmp_path / "deep/er/b.jpg").rename(library.folder / "new/er/b.jpg")
    (tmp_path / "moved").rename(library.folder / "moved")
    (library.folder / "notes.txt").touch()
    # Then they are one job
    assert sorted(watcher.wait(4)[1:]) == ["a.jpg", "moved/d.jpg", "new/er/b.jpg"]
    assert library.count("job") == 2
    with library.ledger.read() as connection:
        sources = set(connection.exec_driver_sql("SELECT source FROM job").scalars())
    assert sources == {f"watch {library.folder}"}


def test_a_photo_that_is_still_being_written_waits(watcher: Watcher) -> None:
    library = watcher.library
    watcher.wait(1)
    data = Path(os.fsdecode(library.photo("../whole.jpg", (400, 300)))).read_bytes()
    with open(library.folder / "slow.jpg", "wb") as slow:
        for start in range(0, len(data), len(data) // 10 + 1):  # longer than it takes to settle, in steps far shorter
            slow.write(data[start : start + len(data) // 10 + 1])
            slow.flush()
            time.sleep(0.15)
    assert watcher.wait(2) == ["before.jpg", "slow.jpg"]
    with library.ledger.read() as connection:
        [size] = connection.exec_driver_sql("SELECT size FROM file WHERE path LIKE '%slow.jpg'").scalars()
    assert (size, library.count("item")) == (len(data), 2)


def test_a_restart_finds_what_came_meanwhile_and_queues_nothing_twice(library: Any, home: Path) -> None:
    library.photo("a.jpg")
    first = Watcher(library, home)
    first.wait(1)
    first.end()
    with library.ledger.write() as connection:  # as if it had been captioned
        connection.exec_driver_sql("INSERT INTO image VALUES (1, x'00', 1, 1, 'JPEG')")
        connection.exec_driver_sql("UPDATE file SET image_id = 1")
        connection.exec_driver_sql(
            "INSERT INTO caption (image_id, recipe_id, text, created_at) SELECT 1, id, 'x', 0 FROM recipe"
        )
    library.photo("b.jpg")
    for expected in itertools.repeat(["a.jpg", "b.jpg"], 2):
        again = Watcher(library, home)
        assert again.wait(2) == expected
        again.end()
        with library.ledger.write() as connection:
            connection.exec_driver_sql("UPDATE file SET image_id = 1")


def test_what_is_no_folder_is_refused(library: Any, home: Path) -> None:
    request = Request((), "demo", watched=("/no/such/folder",))
    with pytest.raises(UserError, match="no folder"):
        watch(library.ledger, Settings(home=home), request, threading.Event(), lambda _: None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_cleanly(library: Any, blipq: Any, number: signal.Signals) -> None:
    program = Path(sys.executable).with_name("blipq")
    watching = subprocess.Popen(
        [program, "watch", library.folder, "--model", "demo"], env=dict(blipq.env), stderr=subprocess.PIPE, text=True
    )
    assert watching.stderr
    assert watching.stderr.readline().startswith("watching ")
    watching.send_signal(number)
    _, said = watching.communicate(timeout=20)
    assert watching.returncode == 0
    assert said.startswith("stopped; 0 photos")
