"""A text that cannot be taken costs itself and is named with its file and line; every text found is counted."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blipq.producer.errors import UserError
from blipq.producer.export.tabular import safe_cell
from blipq.producer.import_captions import Imported, import_captions
from blipq.producer.import_tables import BadRow, Row, rows

GOOD = {"1.jpg": "a dog", "2.jpg": "a cat"}


def take(library: Any, path: Path, *, dry_run: bool = False) -> Imported:
    return import_captions(library.ledger, [str(path)], ".txt", "maria", dry_run=dry_run)


def counts(done: Imported) -> dict[str, int]:
    names = ("changed", "known", "unknown", "conflict", "empty", "bad")
    assert done.found == sum(getattr(done, name) for name in names)
    return {name: getattr(done, name) for name in names if getattr(done, name)}


@pytest.fixture
def two(either_library: Any) -> Any:
    for name in GOOD:  # known, so that no process has to look at them
        either_library.caption(either_library.photo(name), "a model's")
    return either_library


def came(library: Any) -> dict[str, str]:
    with library.ledger.read() as connection:
        found = connection.exec_driver_sql("SELECT path, caption FROM photos WHERE source = 'human'")
        return {os.path.basename(path): text for path, text in found}


JSONL = [
    b'{"file_name": "1.jpg", "text": "half \\ud83d"}',
    b'{"file_name": "\\ud83d.jpg", "text": "x"}',
    b'{"file_name": "1.jpg", "text": "a \\u0000"}',
    b'{"file_name": "1\\u0000.jpg", "text": "x"}',
    b'{"file_name": "1.jpg", "text": "caf\xe9"}',
    b'{"file_name": "1.jpg", "text": 1}',
    b'{"file_name": "1.jpg"',
    b"[" * 100_000,
    b"[]",
]
CSV = [
    b"1.jpg,caf\xe9",
    b"1.jpg,a \0",
    b'1.jpg,"never closed',
    b'1.jpg,"closed" and on',
    b"1.jpg," + b"x" * 140_000,
]


@pytest.mark.parametrize(
    "bad", [*JSONL, *CSV], ids=[f"jsonl{n}" for n in range(len(JSONL))] + [f"csv{n}" for n in range(len(CSV))]
)
def test_a_bad_row_costs_itself(two: Any, tmp_path: Path, bad: bytes) -> None:
    # Given a table whose second row is bad
    table = tmp_path / ("t.jsonl" if bad in JSONL else "t.csv")
    given = [f"{two.folder}/{name}".encode() for name in GOOD]
    bad = bad.replace(b'"1.jpg', b'"' + given[0]).replace(b"1.jpg,", given[0] + b",")
    if table.suffix == ".csv":
        lines = [b"path,caption", given[0] + b",a dog", bad, given[1] + b",a cat"]
    else:
        good = [
            json.dumps({"file_name": os.fsdecode(name), "text": text})
            for name, text in zip(given, GOOD.values(), strict=True)
        ]
        lines = [good[0].encode(), bad, good[1].encode()]
    table.write_bytes(b"\n".join(lines))
    rehearsed = take(two, table, dry_run=True)
    done = take(two, table)
    # Then it is named by file and line, and the others are there
    assert counts(done) == counts(rehearsed) == {"changed": 2, "bad": 1}
    [(where, why)] = done.reasons
    assert where == f"{table}, line {2 + (table.suffix == '.csv')}"
    assert why
    assert "\n" not in why
    assert came(two) == GOOD


def test_a_bad_text_beside_a_photo_costs_itself(two: Any) -> None:
    for name, text in GOOD.items():
        (two.folder / name).with_suffix(".txt").write_text(text)
    os.mkdir(two.folder / "3.txt")
    os.mkfifo(two.folder / "4.txt")
    (two.folder / "5.txt").write_bytes(b"caf\xe9")
    (two.folder / "6.txt").write_bytes(b"a \0")
    (two.folder / "7.txt").write_bytes(b" \n\t")
    (two.folder / "8.txt").write_bytes(b"x" * 1_000_001)
    (two.folder / "9.txt").symlink_to("nowhere")
    for n in range(3, 10):
        two.photo(f"{n}.jpg")
    two.photo("10.jpg")
    (two.folder / "11.jpg").write_text("no picture")
    (two.folder / "11.txt").write_text("words")
    (two.folder / "12.jpg").symlink_to("1.jpg")
    (two.folder / "12.txt").write_text("words")
    done = take(two, two.folder)
    assert counts(done) == {"changed": 2, "bad": 6, "empty": 2, "unknown": 1}
    assert came(two) == GOOD
    named = {Path(where).name: why for where, why in done.reasons}
    assert set(named) == {f"{n}.txt" for n in (3, 4, 5, 6, 7, 8, 9, 11, 12)}
    assert "UTF-8" in named["5.txt"]


def test_each_text_is_counted_once_by_the_command_too(two: Any, blipq: Any, tmp_path: Path) -> None:
    if two.ledger.sqlite_path is None:
        pytest.skip("the command is embedded here")
    with two.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE caption SET text = 'a dog' WHERE image_id = 1")
    table = tmp_path / "t.csv"
    texts = [("1.jpg", "a dog"), ("2.jpg", "a cat"), ("2.jpg", "a cat"), ("none.jpg", "x"), ("1.jpg", "")]
    table.write_text("path,caption\n" + "".join(f"{two.folder}/{name},{text}\n" for name, text in texts))
    said = json.loads(blipq("import", table, "--dry-run", "--json").stdout)
    assert {name: said[name] for name in ("found", "changed", "known", "unknown", "conflict", "empty", "bad")} == {
        "found": 5, "changed": 1, "known": 2, "unknown": 1, "conflict": 0, "empty": 1, "bad": 0
    }  # fmt: skip
    done = blipq("import", table)
    assert (done.returncode, done.stdout.partition(";")[0]) == (
        1,
        "found 5 captions: 1 came in, 2 say nothing new, 1 of unknown photos, 1 empty",
    )


def test_a_table_in_utf_16_is_said_to_be(two: Any, tmp_path: Path) -> None:
    for name, text in (("t.csv", "path,caption\n1.jpg,x\n"), ("t.jsonl", '{"path": "1.jpg"}\n')):
        (tmp_path / name).write_text(text, encoding="utf-16")
        with pytest.raises(UserError, match="UTF-16"):
            take(two, tmp_path / name)


def test_nothing_comes_in_where_one_of_several_paths_is_none(two: Any, tmp_path: Path) -> None:
    (two.folder / "1.txt").write_text("a dog")
    with pytest.raises(UserError):
        import_captions(two.ledger, [str(two.folder), str(tmp_path / "none")], ".txt", "me", dry_run=False)
    assert two.count("edit") == 0


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20), min_size=1),
    broken=st.lists(st.sampled_from(['x,"never closed', '"a"b,c', "\udcff,x"])),
)
def test_good_rows_survive_bad_ones_before_them(tmp_path_factory: Any, texts: list[str], broken: list[str]) -> None:
    # Given rows as a spreadsheet writes them, each cell in quotes
    held = io.StringIO()
    csv.writer(held, quoting=csv.QUOTE_ALL).writerows([str(n), safe_cell(text)] for n, text in enumerate(texts))
    table = tmp_path_factory.mktemp("rows") / "t.csv"
    lines = ["path,caption", *broken, held.getvalue()]
    table.write_text("\r\n".join(lines), encoding="utf-8", errors="surrogateescape", newline="")
    # When they are read behind rows that are broken
    found = list(rows(table))
    good = {row.photo: row.text for row in found if isinstance(row, Row)}
    # Then each is there; a broken one cost itself
    assert {str(n): text for n, text in enumerate(texts)}.items() <= good.items()
    assert sum(isinstance(row, BadRow) for row in found) == sum('"' in line for line in broken)
