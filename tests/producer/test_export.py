from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blipq.models import edits
from blipq.models.control import NoSuchJob
from blipq.models.reading import BadQuery
from blipq.models.selection import Selection
from blipq.producer.errors import UserError
from blipq.producer.export.container import packet_of, take_apart
from blipq.producer.export.order import Order, export
from blipq.producer.export.outcome import Outcome
from blipq.producer.export.packet import description
from blipq.settings import Settings

SETTINGS = Settings()


def run(library: Any, to: str, into: Path | None = None, **more: Any) -> Outcome:
    selection = Selection(more.pop("job", None), more.pop("where", None))
    return export(library.ledger, SETTINGS, Order(to, selection, into, **more))


def test_sidecars_of_equal_names_never_collide(either_library: Any, tmp_path: Path) -> None:
    library = either_library
    # Given equal names in two folders, and two formats of one name in one folder
    for at, name in enumerate(("a/1.jpg", "b/1.jpg", "b/1.png")):
        library.caption(library.photo(name), f"caption {at}")
    # When captions are written beside, and into another folder
    beside = run(library, "txt")
    elsewhere = run(library, "txt", tmp_path / "out")
    # Then each photo has its own text, with the tree kept
    assert (beside.written, elsewhere.written) == (3, 3)
    for root in (library.folder, tmp_path / "out"):
        texts = {str(path.relative_to(root)): path.read_text() for path in root.rglob("*.txt")}
        assert texts == {"a/1.txt": "caption 0\n", "b/1.txt": "caption 1\n", "b/1.png.txt": "caption 2\n"}


@pytest.mark.parametrize(
    ("existing", "text", "counts"),
    [("skip", "mine\n", (0, 1)), ("replace", "a dog\n", (1, 0)), ("append", "mine, a dog\n", (1, 0))],
)
def test_existing_sidecars_are_kept_replaced_or_added_to(
    library: Any, existing: str, text: str, counts: tuple[int, int]
) -> None:
    library.caption(library.photo("1.jpg"), "a dog")
    sidecar = library.folder / "1.caption"
    sidecar.write_text("mine\n")
    first = run(library, "txt", extension=".caption", existing=existing)
    assert sidecar.read_text() == text
    assert (first.written, first.kept) == counts
    # and doing it again changes nothing
    again = run(library, "txt", extension=".caption", existing=existing)
    assert sidecar.read_text() == text
    assert (again.written, again.kept) == (0, 1)


def test_a_sidecar_has_the_captions_lines_with_prefix_and_suffix(library: Any) -> None:
    image = library.caption(library.photo("1.jpg"), "a dog")
    with library.ledger.write() as connection:
        edits.write_edit(connection, image, "two\nlines", "me")
    run(library, "txt", prefix="sks, ", suffix=", photo")
    assert (library.folder / "1.txt").read_text() == "sks, two\nlines, photo\n"


def test_names_that_are_no_utf8_get_their_sidecar(library: Any, tmp_path: Path) -> None:
    library.caption(library.photo(b"caf\xe9/\xff.jpg"), "a cup")
    assert run(library, "txt", tmp_path / "out").written == 1
    assert run(library, "txt").written == 1
    assert os.path.exists(os.fsencode(tmp_path) + b"/out/\xff.txt")
    assert os.path.exists(os.fsencode(library.folder) + b"/caf\xe9/\xff.txt")


def test_what_cannot_be_written_is_counted_and_named(library: Any) -> None:
    library.caption(library.photo("1.jpg"), "a dog")
    library.caption(library.photo("2.jpg"), "a cat")
    (library.folder / "1.txt").mkdir()
    outcome = run(library, "txt", existing="replace")
    assert (outcome.written, outcome.failed) == (1, 1)
    assert outcome.reasons == [(str(library.folder / "1.jpg"), "Is a directory")]
    assert not [path for path in library.folder.rglob("*") if path.name.startswith(".blipq")]


def test_a_job_is_exported_with_what_people_made_of_it(either_library: Any, tmp_path: Path) -> None:
    # Given two jobs with a model each, and an edit
    library = either_library
    paths = [library.photo(f"{name}.jpg") for name in "abc"]
    images = [library.caption(path, f"first {at}") for at, path in enumerate(paths)]
    job = library.job(paths[:2])
    with library.ledger.write() as connection:
        edits.write_edit(connection, images[0], "a person's", "me")
    # When the job is exported
    outcome = run(library, "jsonl", tmp_path / "out.jsonl", job=job)
    # Then its photos alone are there
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["caption"], row["source"]) for row in rows] == [("a person's", "human"), ("first 1", "model")]
    assert outcome.written == 2
    with pytest.raises(NoSuchJob):
        run(library, "jsonl", tmp_path / "none", job=99)


def test_a_condition_chooses_photos_and_cannot_write(either_library: Any, tmp_path: Path) -> None:
    library = either_library
    library.caption(library.photo("a.jpg"), "a dog: 10 % off", flag="cut")
    library.caption(library.photo("b.jpg"), "a cat")
    out = tmp_path / "out.jsonl"
    assert run(library, "jsonl", out, where="caption like '%: 10 %' and flag is not null -- why").written == 1
    assert run(library, "jsonl", out, where="1 = 1").written == 2
    for wrong in ("no such column", "caption = (delete from caption returning 1)", "1 = 1); delete from caption; --"):
        with pytest.raises(BadQuery, match="--where"):
            run(library, "jsonl", out, where=wrong)
    assert len(out.read_text().splitlines()) == 2  # what was there stands when a later export fails
    assert library.count("caption") == 2


@pytest.mark.parametrize("text", ["=1+2", "+1", "-1", "@SUM(A1)", "\tx", "\rx", '=cmd|" /C calc"!A1'])
def test_no_spreadsheet_runs_a_caption(library: Any, tmp_path: Path, text: str) -> None:
    from blipq.producer.export.tabular import plain_cell

    library.caption(library.photo("a.jpg"), text)
    run(library, "csv", tmp_path / "out.csv")
    with open(tmp_path / "out.csv", newline="") as lines:
        [row] = csv.DictReader(lines)
    assert row["caption"] == f"'{text}"
    assert plain_cell(row["caption"]) == text
    assert row["score"] == "-0.5"


def test_parquet_is_read_by_pyarrow_and_duckdb(library: Any, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="pip install duckdb")
    import pyarrow.parquet as pq

    for at in range(5):
        library.caption(library.photo(f"{at}.jpg"), f"caption {at} é")
    out = tmp_path / "out.parquet"
    assert run(library, "parquet", out).written == 5
    assert pq.read_table(out).column("caption").to_pylist() == [f"caption {at} é" for at in range(5)]
    assert duckdb.sql(f"SELECT count(*), avg(score) FROM '{out}'").fetchall() == [(5, -0.5)]


def test_an_empty_selection_is_an_empty_table(library: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    assert run(library, "parquet", tmp_path / "out.parquet").written == 0
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    assert run(library, "txt", tmp_path / "out").written == 0


@pytest.mark.parametrize("link", [False, True])
def test_an_imagefolder_is_read_by_datasets_and_by_training(library: Any, tmp_path: Path, link: bool) -> None:
    import datasets

    from blipq.worker.engine.training.sources import open_data

    names = ["a/1.jpg", "b/1.jpg", "b/2.png"]
    for at, name in enumerate(names):
        library.caption(library.photo(name), f"caption {at}")
    library.caption(library.photo(b"\xff.jpg"), "odd")
    out = tmp_path / "set"
    assert run(library, "imagefolder", out, link=link).written == 4
    assert (out / "a/1.jpg").stat().st_nlink == 1 + link
    # datasets
    table = datasets.load_dataset("imagefolder", data_dir=str(out), cache_dir=str(tmp_path / "cache"), split="train")
    assert sorted(table["text"]) == ["caption 0", "caption 1", "caption 2", "odd"]
    assert table[0]["image"].size == (32, 24)
    # blipq train
    source, _ = open_data(str(out), "train", None, None, None, tmp_path / "scratch")
    said = {source.name(row): source.captions(row) for row in range(len(source))}
    assert {name: said[name] for name in names} == {name: [f"caption {at}"] for at, name in enumerate(names)}
    assert all(source.read(row)[:2] in (b"\xff\xd8", b"\x89P") for row in range(4))
    # and again, over itself
    assert run(library, "imagefolder", out, link=link).written == 4


def test_the_gallery_shows_captions_as_text_and_as_alternatives(library: Any, tmp_path: Path) -> None:
    library.caption(library.photo("a.jpg", size=(800, 600)), '<script>alert("1")</script>')
    lost = library.photo("lost.jpg")
    library.caption(lost, "not there any more")
    os.unlink(lost)
    assert run(library, "html", tmp_path / "out").written == 2
    page = (tmp_path / "out/index.html").read_text()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 2
    assert "http" not in page
    assert len(list((tmp_path / "out/thumbnails").iterdir())) == 1
    assert "no preview" in page


def test_a_caption_of_several_lines_stays_so_everywhere(library: Any, tmp_path: Path) -> None:
    image = library.caption(library.photo("a.jpg"), "a dog")
    two = "1girl, stage\na girl on a stage"
    with library.ledger.write() as connection:
        edits.write_edit(connection, image, two, "me")
    for to in ("html", "imagefolder", "txt"):
        run(library, to, tmp_path / to)
    assert two in (tmp_path / "html" / "index.html").read_text()
    assert "white-space:pre-line" in (tmp_path / "html" / "index.html").read_text()
    assert json.loads((tmp_path / "imagefolder" / "metadata.jsonl").read_text())["text"] == two
    assert (tmp_path / "txt" / "a.txt").read_text() == f"{two}\n"
    for to in ("jsonl", "csv"):
        run(library, to, tmp_path / f"out.{to}")
    assert json.loads((tmp_path / "out.jsonl").read_text())["caption"] == two
    with open(tmp_path / "out.csv", newline="") as lines:
        assert [row["caption"] for row in csv.DictReader(lines)] == [two]
    run(library, "xmp", tmp_path / "xmp")
    run(library, "metadata")
    said = [description(path.read_bytes()) for path in (tmp_path / "xmp").iterdir()]
    packet = packet_of(take_apart((library.folder / "a.jpg").read_bytes()))
    assert packet is not None
    assert {*said, description(packet)} == {two}


def test_a_gallery_has_pages_that_lead_to_each_other(library: Any, tmp_path: Path) -> None:
    path = library.photo("a.jpg")
    library.caption(path, "a dog", sha256=b"1" * 32)
    for at in range(240):
        other = library.folder / f"copy{at}.jpg"
        os.link(path, other)
        library.caption(os.fsencode(other), "a dog", sha256=b"1" * 32)
    run(library, "html", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.html")) == [
        "index.html",
        "page-2.html",
        "page-3.html",
    ]
    middle = (tmp_path / "out/page-2.html").read_text()
    assert 'href="index.html"' in middle
    assert 'href="page-3.html"' in middle


def test_a_table_in_place_of_a_folder_is_refused(library: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for to, into in (("jsonl", tmp_path), ("html", tmp_path / "file")):
        with pytest.raises(UserError):
            run(library, to, into)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--to txt", "--beside"),
        ("--to txt --beside -o x", "either"),
        ("--to metadata", "--write-metadata"),
        ("--to html", "-o FOLDER"),
        ("--to csv --beside", "not with csv"),
        ("--to jsonl --json", "stdout"),
        ("--to txt --beside --extension txt", "dot"),
        ("--to jsonl --where nonsense", "--where"),
        ("7 --to jsonl", "no job 7"),
    ],
)
def test_what_means_nothing_is_refused_in_a_line(library: Any, blipq: Any, arguments: str, says: str) -> None:
    done = blipq("export", *arguments.split())
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_a_target_that_cannot_be_written_is_said_in_a_line(library: Any, blipq: Any, tmp_path: Path) -> None:
    library.caption(library.photo("a.jpg"), "a dog")
    (tmp_path / "file").touch()
    for to in ("csv", "imagefolder"):
        done = blipq("export", "--to", to, "-o", tmp_path / "file" / "below")
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert len(done.stderr.splitlines()) == 1


def test_the_command_writes_tables_to_stdout_and_counts_to_stderr(library: Any, blipq: Any) -> None:
    library.caption(library.photo("a.jpg"), "a dog")
    done = blipq("export", "--to", "csv")
    assert done.returncode == 0
    assert [row["caption"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["a dog"]
    assert "wrote 1 caption to stdout" in done.stderr
    counted = blipq("export", "--to", "txt", "--beside", "--json")
    assert json.loads(counted.stdout) == {"written": 1, "kept": 0, "failed": 0, "reasons": []}
    assert counted.stderr == ""


def test_a_reader_that_goes_away_is_no_error(library: Any, blipq: Any) -> None:
    for at in range(3000):
        library_row = f"{at}" * 40
        with library.ledger.write() as connection:
            connection.exec_driver_sql(f"INSERT INTO file (path, size, mtime_ns) VALUES ('/{library_row}', 1, 1)")
        if at > 5:
            break
    program = Path(sys.executable).with_name("blipq")
    command = f"{program} export --to csv | head -c 1"
    done = subprocess.run(["bash", "-c", command], env=dict(blipq.env), capture_output=True, text=True, check=False)
    assert done.stdout == "p"
    assert "Traceback" not in done.stderr
