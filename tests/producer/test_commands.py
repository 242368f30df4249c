"""The command line as people meet it: quick, honest about errors, one line each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blipq.producer.cli import COMMANDS, SUMMARIES

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _photo(path: Path) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def _one_error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in done.stderr
    return line


def test_every_command_is_listed_and_explains_itself(blipq: Run) -> None:
    page = blipq("--help").stdout
    listed = [
        line.split()[0]
        for line in page.partition("Commands:")[2].splitlines()
        if line.startswith("  ") and line[2] != " "
    ]
    assert listed == list(COMMANDS)
    assert set(COMMANDS) == set(SUMMARIES)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_needs_no_torch_and_no_database(blipq: Run, home: Path, command: str) -> None:
    check = f"import sys; sys.argv = ['blipq', {command!r}, '--help']\n"
    check += "from blipq.producer.cli import main\n"
    check += "try: main()\nexcept SystemExit as end: assert not end.code\n"
    check += "assert not {'torch', 'transformers', 'sqlalchemy', 'celery'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: blipq" in done.stdout
    assert not home.exists()


def test_a_misspelt_command_is_guessed(blipq: Run) -> None:
    assert "did you mean `blipq enqueue`" in blipq("enqeue").stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("BLIPQ_BATCH_SIZE", "many", "BLIPQ_BATCH_SIZE=many"),
        ("BLIPQ_PRECISION", "int3", "'auto', 'fp32', 'bf16' or 'fp16'"),
        ("BLIPQ_DATABASE_URL", "mysql://root:sesame@host/db", "sqlite:// or postgresql://"),
        ("BLIPQ_REDIS_URL", "http://:sesame@host", "redis://"),
        ("BLIPQ_DEVICE", "gpu", "BLIPQ_DEVICE=gpu"),
    ],
)
def test_a_wrong_setting_is_named_with_what_it_takes(blipq: Run, variable: str, value: str, says: str) -> None:
    line = _one_error(blipq("status", env={variable: value}))
    assert says in line
    assert "sesame" not in line


def test_an_empty_folder_a_missing_path_and_one_without_rights(blipq: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    assert "no pictures in" in _one_error(blipq("enqueue", tmp_path / "empty", "--model", "demo"))
    assert "not there" in _one_error(blipq("enqueue", tmp_path / "none", "--model", "demo"))


def test_a_model_with_a_typo_is_told_within_ten_seconds(blipq: Run, tmp_path: Path) -> None:
    _photo(tmp_path / "a.png")
    assert "./nowhere" in _one_error(blipq("enqueue", tmp_path, "--model", "./nowhere", timeout=10))
    line = _one_error(blipq("enqueue", tmp_path, "--model", "Salesforce/blip-image-captoning-base", timeout=20))
    assert "--model demo" in line


def test_a_shared_redis_needs_a_shared_database(blipq: Run, tmp_path: Path) -> None:
    line = _one_error(
        blipq("enqueue", _photo(tmp_path / "a.png"), env={"BLIPQ_REDIS_URL": "redis://:sesame@127.0.0.1:1"})
    )
    assert "BLIPQ_DATABASE_URL" in line
    assert "sesame" not in line


def test_unknown_jobs_are_said_to_be_unknown(blipq: Run) -> None:
    for command in ("status", "cancel", "retry", "results"):
        assert "no job 7" in _one_error(blipq(command, "7"))


def test_sql_only_reads(blipq: Run) -> None:
    assert json.loads(blipq("sql", "select count(*) as n from results", "--format", "jsonl").stdout) == {"n": 0}
    assert "only read" in _one_error(blipq("sql", "delete from job"))
    assert "views: photos, results" in _one_error(blipq("sql", "select * from reslts"))


def test_a_dry_run_queues_nothing_and_starts_nothing(blipq: Run, home: Path, tmp_path: Path) -> None:
    _photo(tmp_path / "photos" / "a.png")
    done = blipq("enqueue", tmp_path / "photos", "--model", "demo", "--dry-run", "--json")
    assert json.loads(done.stdout) | {"disk_bytes": 0} == {
        "job": None,
        "model": "demo",
        "found": 1,
        "queued": 1,
        "known": 0,
        "refused": 0,
        "seconds": None,
        "disk_bytes": 0,
    }
    assert json.loads(blipq("status", "--json").stdout)["jobs"] == []
    assert not (home / "log").exists()


def test_status_says_that_no_daemon_runs(blipq: Run, library: Any) -> None:
    # Given a job of a photo, a queue that is paused, and no daemon
    path = library.photo("a.jpg")
    library.caption(path, "what it was")
    library.job([path], state="queued")
    blipq("pause", "caption")
    # Then status says what is left and what to do
    done = blipq("status")
    assert "1 units are left and no daemon runs: blipq up --detach" in done.stderr
    assert "queue caption is paused" in done.stdout


def test_home_is_private(blipq: Run, home: Path) -> None:
    assert blipq("status").returncode == 0
    assert oct(home.stat().st_mode & 0o777) == "0o700"
    assert oct((home / "blipq.db").stat().st_mode & 0o777) == "0o600"


def test_a_home_that_may_not_be_written_is_one_line(blipq: Run) -> None:
    assert "BLIPQ_HOME" in _one_error(blipq("status", env={"BLIPQ_HOME": "/proc/blipq"}))


def test_doctor_finds_a_bad_broker_and_hides_its_password(blipq: Run) -> None:
    done = blipq("doctor", "--json", env={"BLIPQ_REDIS_URL": "redis://:sesame@127.0.0.1:1/0"}, timeout=120)
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    assert not checks["broker"]["holds"]
    assert checks["broker"]["do"]
    assert checks["torch"]["holds"]
    assert "sesame" not in done.stdout + done.stderr


def test_models_describes_the_bundled_one(blipq: Run) -> None:
    facts = json.loads(blipq("models", "demo", "--json").stdout)
    assert facts["parameters"] > 1_000_000
    assert Path(facts["folder"]).is_dir()
