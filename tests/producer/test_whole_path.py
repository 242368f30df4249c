"""From `blipq enqueue` to rows, through real processes: embedded, on real servers, without a network, on odd files.

Tests that need no home of their own share one, and its daemon; each has a folder of its own, of pictures of its own.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blipq.demo.scenes import write_folder

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Eight drawn scenes."""
    write_folder(tmp_path / "scenes", "scenes", 8, seed=200)
    return tmp_path / "scenes"


@pytest.fixture(scope="module")
def raced(common_blipq: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, list[int]]:
    """The shared home, whose first two commands are one and the same at once: the folder, and how they ended."""
    folder = tmp_path_factory.mktemp("raced")
    write_folder(folder, "scenes", 8, seed=100)
    command = [str(Path(sys.executable).with_name("blipq")), "enqueue", str(folder), "--model", "demo", "--wait"]
    racing = [subprocess.Popen(command, env=common_blipq.env) for _ in range(2)]
    return common_blipq, folder, [process.wait(120) for process in racing]


@pytest.fixture
def shared(raced: Any) -> Any:
    """`blipq` in the shared home, where a daemon runs."""
    return raced[0]


def _captions(home: Path, folder: Path) -> int:
    """How many captions the contents of a folder's photos have."""
    query = "SELECT count(DISTINCT caption.id) FROM caption JOIN file ON file.image_id = caption.image_id"
    ((count,),) = _rows(home, f"{query} WHERE path LIKE '{folder}/%'")
    return int(str(count))


def _rows(home: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(f"file:{home / 'blipq.db'}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def test_two_enqueues_at_once_on_a_fresh_home_caption_each_photo_once(raced: tuple[Any, Path, list[int]]) -> None:
    blipq, folder, ended = raced
    assert ended == [0, 0]
    assert _captions(blipq.home, folder) == 8
    assert _rows(blipq.home, f"SELECT count(*) FROM results WHERE path LIKE '{folder}/%'") == [(8,)]


def test_one_command_captions_a_folder_and_a_second_does_nothing(shared: Any, scenes: Path) -> None:
    blipq, home = shared, shared.home
    # Given eight scenes; When they are enqueued
    done = blipq("enqueue", scenes, "--model", "demo", "--wait", "--json", timeout=120)
    # Then all are captioned, mostly word for word
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["found"], answer["done"], answer["failed"], answer["state"]) == (8, 8, 0, "done")
    lines = (scenes / "metadata.jsonl").read_text().splitlines()
    truth = {row["file_name"]: row["text"] for row in map(json.loads, lines)}
    said = {
        Path(str(path)).name: text
        for path, text in _rows(home, f"SELECT path, caption FROM results WHERE path LIKE '{scenes}/%'")
    }
    assert sum(said[name] == text for name, text in truth.items()) >= 6
    ((versions, precision),) = _rows(
        home, "SELECT DISTINCT versions, precision FROM caption JOIN worker ON worker.id = worker_id"
    )
    assert "torch" in str(versions)
    assert precision in ("fp32", "bf16")

    # When a photo is renamed, another copied and one tagged, and the folder is enqueued again
    (scenes / "00000.jpg").rename(scenes / "renamed.jpg")
    shutil.copy(scenes / "00001.jpg", scenes / "copy.jpg")
    tagged = (scenes / "00002.jpg").read_bytes()
    (scenes / "00002.jpg").write_bytes(tagged[:2] + b"\xff\xfe\x00\x08tagged" + tagged[2:])
    again = json.loads(blipq("enqueue", scenes, "--model", "demo", "--wait", "--json", timeout=120).stdout)
    # Then nothing is captioned again, and every path has its caption
    assert (again["found"], again["known"], again["done"]) == (9, 6, 3)
    assert _captions(home, scenes) == 8
    with_one = f"SELECT count(*) FROM photos WHERE caption IS NOT NULL AND path LIKE '{scenes}/%'"
    assert _rows(home, with_one) == [(10,)]

    # When nothing changed, nothing is even queued
    third = json.loads(blipq("enqueue", scenes, "--model", "demo", "--json").stdout)
    assert (third["queued"], third["known"]) == (0, 9)

    # When another recipe is asked for, all come again beside the old ones
    beams = json.loads(
        blipq("enqueue", scenes, "--model", "demo", "--num-beams", "3", "--wait", "--json", timeout=120).stdout
    )
    assert beams["done"] == 9
    assert _captions(home, scenes) == 16
    jobs = json.loads(blipq("status", "--json").stdout)["jobs"]
    assert [job["state"] for job in jobs if job["source"] == str(scenes)] == ["done"] * 4
    assert blipq("results", str(answer["job"]), "--format", "csv").stdout.count("\n") == 9


def test_a_job_on_redis_and_postgresql(
    blipq: Run, scenes: Path, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    servers = {"BLIPQ_DATABASE_URL": postgres_url, "BLIPQ_REDIS_URL": redis_url, "BLIPQ_DECODE_PROCESSES": "1"}
    assert "run `blipq db upgrade`" in blipq("status", env=servers).stderr
    assert blipq("db", "upgrade", env=servers).returncode == 0
    command = [sys.executable, "-P", "-m", "blipq", "worker", "--queues", "caption"]
    with subprocess.Popen(command, env={**blipq.env, **servers}) as worker:  # type: ignore[attr-defined]
        try:
            done = blipq("enqueue", scenes, "--model", "demo", "--wait", "--json", env=servers, timeout=120)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["done"] == 8
            counted = blipq("sql", "select count(*) as n from results", "--format", "jsonl", env=servers)
            assert json.loads(counted.stdout) == {"n": 8}
            (seen,) = json.loads(blipq("status", "--json", env=servers).stdout)["workers"]
            assert seen["queue"] == "caption"
        finally:
            worker.terminate()
        assert worker.wait(60) == 0


def test_a_job_without_any_network(blipq: Run, home: Path, scenes: Path) -> None:
    alone = ["unshare", "--net", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody make a network namespace")
    command = [
        *alone,
        str(Path(sys.executable).with_name("blipq")),
        "enqueue",
        str(scenes),
        "--model",
        "demo",
        "--wait",
    ]
    done = subprocess.run(command, env=blipq.env, capture_output=True, text=True, timeout=120, check=False)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr
    assert _rows(home, "SELECT count(*) FROM results") == [(8,)]


def test_odd_and_broken_files_end_as_they_should(shared: Any, shared_data: Path) -> None:
    folder = shared_data / "nasty" / "files"
    done = shared("enqueue", folder, "--model", "demo", "--wait", timeout=170)
    assert done.returncode == 1
    below = f"WHERE path LIKE '{folder}/%'"
    captioned = {Path(str(path)).name for (path,) in _rows(shared.home, f"SELECT path FROM results {below}")}
    reasons = _rows(shared.home, f"SELECT path, message FROM failures {below}")
    failed = {Path(str(path)).name: message for path, message in reasons}
    for row in csv.DictReader((shared_data / "nasty" / "manifest.csv").read_text().splitlines()):
        name = Path(row["file"]).name
        if row["expected"].startswith("reject") and "pi" not in row["class"] and name != "pillow__hopper.heif":
            assert name in failed, name
        elif row["expected"].startswith("caption") and " or reject" not in row["expected"]:
            assert name in captioned, (name, failed.get(name))
        assert name in captioned or failed.get(name), name
    assert all("\n" not in str(message) for message in failed.values())


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Scenes under names that trouble other tools."""
    write_folder(tmp_path / "drawn", "scenes", 5, seed=300)
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [b"-dash.jpg", b"new\nline.jpg", b"quo'te\".jpg", "🦆.jpg".encode(), b"caf\xe9.jpg"]
    for number, name in enumerate(names):
        shutil.copy(tmp_path / "drawn" / f"{number:05}.jpg", os.fsencode(folder) + b"/" + name)
    return folder


def test_odd_names_are_captioned(shared: Any, odd: Path) -> None:
    done = shared("enqueue", ".", "--model", "demo", "--wait", "--json", cwd=odd, timeout=120)
    assert done.returncode == 0, done.stderr
    counts = f"SELECT count(*), count(DISTINCT path) FROM results WHERE path LIKE '{odd}/%'"
    assert _rows(shared.home, counts) == [(5, 5)]
    assert shared("results", str(json.loads(done.stdout)["job"])).stdout.count("\n") == 5 + 2


def test_the_demo_and_the_daemon_s_commands_answer_in_json(shared: Any, tmp_path: Path) -> None:
    def asked(*words: str) -> Any:
        done = shared(*words, "--json", timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # Given a daemon that runs, and is started no second time
    again = asked("up", "--detach")
    assert again["started"] is False
    assert Path(again["log"]).is_file()
    # When scenes are drawn and captioned, each has its caption and what it shows
    drawn = asked("demo", "--folder", str(tmp_path / "drawn"))
    assert (drawn["state"], drawn["done"], drawn["failed"]) == ("done", 24, 0)
    assert drawn["right"] == sum(one["caption"] == one["truth"] for one in drawn["captions"]) > 20
    # When a queue rests and goes on, each says so
    assert asked("pause", "train") == {"queue": "train", "paused": True}
    assert asked("resume", "train") == {"queue": "train", "paused": False}
    assert asked("retry", str(drawn["job"])) == {"job": drawn["job"], "queued": 0}
    # Then it stops once
    assert asked("down") == {"stopped": True}
    assert asked("down") == {"stopped": False}
    assert "--detach" in shared("up", "--json").stderr
