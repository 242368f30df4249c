"""The documents: generated pages are current, links lead somewhere, commands and settings exist, queries run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from sqlalchemy import text

from blipq.models.database import Ledger
from blipq.models.migrate import upgrade
from blipq.models.views import VIEWS
from blipq.producer.cli import COMMANDS, cli
from blipq.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
BY_NAME = pytest.mark.parametrize("page", [pytest.param(path, id=path.name) for path in [*PAGES, ROOT / "README.md"]])
LINK = re.compile(r"(?<!\\)\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as Python-Markdown makes them."""
    text = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@BY_NAME
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"(https?|mailto):", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in slugs(found), f"{page.name}: {target}"


def test_pages_that_the_source_says_itself_are_current() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r'"([\w/-]+\.md)"', (ROOT / "zensical.toml").read_text()))
    assert named == {path.name for path in PAGES}


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    zensical = shutil.which("zensical", path=str(Path(sys.executable).parent))
    if zensical is None:
        pytest.skip("there is no zensical here: pip install 'blipq[docs]'")
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    done = subprocess.run(
        [zensical, "build", "--clean", "--strict"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    built = (tmp_path / "site" / "index.html").read_text()
    assert not re.findall(r'(?:src|href)="https?://(?!github\.com|arxiv\.org|zensical\.org)[^"]+', built)


def commands_of(page: Path) -> Iterator[list[str]]:
    for kind, body in FENCE.findall(page.read_text()):
        if kind in ("sh", "bash"):
            for line in body.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|\|\||(?<!\")\|(?!\")|;", line.split(" #")[0]):
                    words = shlex.split(part.split(" > ")[0], comments=True) if part.count('"') % 2 == 0 else []
                    if words[:1] == ["blipq"] and len(words) > 1 and not words[1].startswith("-"):
                        yield words[1:]


@BY_NAME
def test_commands_that_are_shown_take_what_is_shown(page: Path) -> None:
    for words in commands_of(page):
        command: click.Command = cli
        with click.Context(cli, info_name="blipq") as context:
            while isinstance(command, click.Group):
                found = command.get_command(context, words[0])
                assert found is not None, f"blipq {' '.join(words)}"
                command, words = found, words[1:]
            try:
                command.make_context("blipq", list(words), context)
            except click.ClickException as error:
                raise AssertionError(f"blipq {command.name} {' '.join(words)}: {error.format_message()}") from None


@BY_NAME
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {variable(name) for name in Settings.model_fields}
    known |= {"BLIPQ_COMPLETE", "BLIPQ_PHOTOS"}  # click's, and the compose file's
    named = set(re.findall(r"\bBLIPQ_[A-Z_]+\b", page.read_text()))
    assert {name for name in named if not name.startswith("BLIPQ_TEST_")} <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    with click.Context(cli, info_name="blipq") as context:
        command = cli.get_command(context, name)
        assert command is not None
        with click.Context(command, info_name=name, parent=context) as own:
            assert f"\n  blipq {name}" in command.get_help(own)


def test_commands_complete_without_loading_what_is_slow() -> None:
    program = Path(sys.executable).with_name("blipq")
    words = {"COMP_WORDS": "blipq export --to p", "COMP_CWORD": "3"}
    env = os.environ | words | {"_BLIPQ_COMPLETE": "bash_complete", "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([program], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["plain,parquet"]
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "click" in loaded
    assert not loaded & {"torch", "transformers", "sqlalchemy", "pydantic", "celery", "datasets"}


# SQL.


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("sql")
        (folder / "blipq.db").touch()
        made = Ledger(f"sqlite:///{folder / 'blipq.db'}")
        upgrade(made)
        yield made
        made.close()
        return
    fresh: Any = request.getfixturevalue("fresh_postgres")
    with fresh() as url:
        made = Ledger(url.replace("postgresql:", "postgresql+psycopg:"))
        upgrade(made)
        yield made
        made.close()


def fill(ledger: Ledger) -> None:
    """Two photos of one content with two captions, one with none and a failure."""
    recipe = (
        "INSERT INTO recipe (id, hash, model, weights, prompt, num_beams, max_new_tokens, min_new_tokens, do_sample,"
        " top_p, top_k, temperature, repetition_penalty, length_penalty, no_repeat_ngram_size, seed, preprocessing,"
        " created_at)"
        " VALUES ({0}, '{0}', 'm{0}', 'w', '', 1, 20, 0, false, 1, 50, 1, 1, 1, 0, 0, 'p', 0)"
    )
    statements = (
        "INSERT INTO image (id, sha256, width, height, format) VALUES (1, '1', 1, 1, 'JPEG')",
        recipe.format(1),
        recipe.format(2),
        "INSERT INTO file (id, path, size, mtime_ns, image_id) VALUES (1, '/a/IMG_0001.jpg', 1, 1, 1),"
        " (2, '/b.jpg', 1, 1, 1), (3, '/c.jpg', 1, 1, NULL)",
        "INSERT INTO caption (id, image_id, recipe_id, text, score, flag, created_at)"
        " VALUES (1, 1, 1, 'a dog', -1, 'cut', 0), (2, 1, 2, 'two dogs', -2, 'cut', 1)",
        "INSERT INTO job (id, kind, state, source, model, recipe_id, parameters, priority, served, run_after, total,"
        " skipped, created_at, started_at, ended_at)"
        " VALUES (1, 'caption', 'done', 'x', 'm1', 1, '{}', 0, 0, 0, 3, 0, 0, 1, 3)",
        "INSERT INTO failure (job_id, file_id, kind, message, attempts, created_at)"
        " VALUES (1, 3, 'corrupt', 'm', 1, 0)",
        "INSERT INTO edit (id, image_id, text, author, created_at)"
        " VALUES (1, 1, 'my dog', 'me', 2), (2, 1, NULL, 'me', 3)",
    )
    with ledger.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_the_ten_queries_answer_on_both_databases(ledger: Ledger) -> None:
    fill(ledger)
    queries = [body for kind, body in FENCE.findall((DOCS / "sql.md").read_text()) if kind == "sql"]
    assert len(queries) == 10
    with ledger.read() as connection:
        counts = [len(connection.execute(text(query)).all()) for query in queries]
    assert counts == [2, 1, 1, 2, 1, 1, 2, 2, 4, 1]


def test_the_columns_of_views_are_those_that_the_page_lists(ledger: Ledger) -> None:
    listed = {}
    for line in (DOCS / "sql.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            listed[cells[0].strip("`")] = re.findall(r"`(\w+)`", cells[2])
    with ledger.read() as connection:
        there = {name: list(connection.exec_driver_sql(f"SELECT * FROM {name} LIMIT 0").keys()) for name in VIEWS}
    assert listed == there
