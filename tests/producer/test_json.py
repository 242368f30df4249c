"""`--json`: every command that answers has it, stdout is JSON and nothing else, and the keys are a contract."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from blipq.models import recipes, schema, training
from blipq.models.recipes import Recipe
from blipq.models.training import Epoch, Step
from blipq.producer.cli import COMMANDS, cli
from blipq.settings import load

SILENT = {"worker"}  # runs until it is stopped, and answers nothing
PASSED_ON = {"bench"}  # hands its arguments to a script


def commands(group: click.Group, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    with click.Context(group) as context:
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            if isinstance(found, click.Group):
                yield from commands(found, *before, name)
            else:
                yield (*before, name), found


def test_every_command_that_answers_takes_json() -> None:
    without = {
        words[0]
        for words, command in commands(cli)
        if not any("--json" in option.opts and option.is_flag for option in command.params if option.name == "as_json")
    }
    assert without == SILENT | PASSED_ON
    scripts = [Path(__file__).parents[2] / "benchmarks" / name for name in ("caption", "decode", "throughput", "train")]
    assert all('"--json"' in script.with_suffix(".py").read_text() for script in scripts)


@pytest.fixture
def filled(library: Any, home: Path) -> Any:
    """Two photos that two jobs captioned, one that failed, and a training run of two epochs."""
    first, second, broken = (library.photo(f"{name}.jpg") for name in ("one", "two", "broken"))
    images = [library.caption(path, "a picture of a dog") for path in (first, second)]
    library.caption(broken, "what it was")
    jobs = [library.job([first, second]), library.job([first, second], model="other")]
    jobs.append(library.job([broken], state="failed"))
    assert jobs == [1, 2, 3]
    with library.ledger.write() as connection:
        other = recipes.record(connection, Recipe(weights="sha256:other"), "other")
        rows = [{"image_id": number, "recipe_id": other, "text": "a picture of a cat"} for number in images]
        connection.execute(insert(schema.caption), rows)
        made = training.enqueue(connection, base="demo", weights=None, data="scenes", plan={"epochs": 2}, priority=0)
        training.begin(connection, made.id, plan={"epochs": 2}, pictures=4, steps=4)
        training.add_steps(connection, made.id, [Step(n, n / 2, 1 / n, 1 / n, 1e-5, 1.0) for n in (1, 2, 3, 4)])
        training.add_epoch(connection, made.id, Epoch(1, 2, 0.5, 0.6, {"bleu_4": 0.2}, 1.0))
    return library


# What each prints: the keys of its answer, or of each entry where it is a list or lines.
ANSWERS: list[tuple[str, set[str]]] = [
    ("status", {"jobs", "workers", "paused", "daemon", "units_left", "problem"}),
    ("status 1", {"jobs", "workers", "paused", "daemon", "units_left", "problem"}),
    ("results", {"path", "caption", "score", "flag", "model", "source", "created_at"}),
    ("results 1", {"path", "caption", "score", "flag", "model", "prompt", "source", "created_at"}),
    ("sql 'select path from photos'", {"path"}),
    ("export --to jsonl -o out.jsonl", {"written", "kept", "failed", "reasons"}),
    ("edit --strip 'a picture of '", {"batch", "changed", "kept", "dry_run"}),
    ("import one.csv", {"batch", "found", "changed", "known", "failed", "dry_run"}),
    (
        "enqueue . --model demo --dry-run",
        {"job", "model", "found", "queued", "known", "refused", "seconds", "disk_bytes"},
    ),
    ("cancel 3", {"job", "cancelled"}),
    ("pause", {"queue", "paused"}),
    ("down", {"stopped"}),
    ("runs", {"runs"}),
    (
        "runs 1",
        {"run", "job", "state", "base", "data", "step", "steps", "seconds", "note", "plan", "epochs", "checkpoints"}
        | {"evaluation", "remarks"},
    ),
    ("compare 1 2", {"jobs", "models", "photos", "changed", "captions"}),
    ("plot 1 -o run.png", {"run", "files"}),
    ("show 1 -o photos.png", {"title", "photos", "files"}),
    ("models", {"model", "what", "captions", "images_per_second"}),
    ("forget one.jpg --yes", {"photos", "dry_run"}),
    ("gc", {"files", "bytes", "absent", "dry_run"}),
    ("db upgrade", {"schema", "was"}),
    ("db current", {"schema", "state", "knows"}),
]


@pytest.fixture
def invoke(filled: Any, home: Path) -> Iterator[Callable[..., Result]]:
    """Runs a command in this process, 0.1 s instead of 0.5, among the photos; settings are read once a process."""

    def run(*words: str) -> Result:
        with contextlib.chdir(filled.folder):
            return CliRunner().invoke(cli, words, env={"BLIPQ_HOME": str(home)})

    load.cache_clear()
    yield run
    load.cache_clear()


def test_each_answer_is_json_with_the_keys_that_it_is_known_by(filled: Any, invoke: Callable[..., Result]) -> None:
    (filled.folder / "one.csv").write_text("path,caption\none.jpg,my dog\n")
    wrong = {}
    for line, keys in ANSWERS:
        done = invoke(*shlex.split(line), "--json")
        assert done.exit_code == 0, (line, done.stderr, done.exception)
        said: list[dict[str, Any]] = [json.loads(row) for row in done.stdout.splitlines()]
        for answer in said[0] if len(said) == 1 and isinstance(said[0], list) else said:
            if not keys <= set(answer):
                wrong[line] = sorted(answer)
        assert said, line
    assert wrong == {}


def test_every_command_is_in_the_list_or_tested_elsewhere() -> None:
    here = {line.split()[0] for line, _ in ANSWERS}
    elsewhere = {"up", "demo", "resume", "retry"} | {
        "watch",
        "train",
        "evaluate",
        "promote",
        "export-model",
        "push",
        "doctor",
        "serve",
    }
    assert set(COMMANDS) - here == elsewhere | SILENT | PASSED_ON
