"""What a person may get wrong: one line, what to do, and the right exit status."""

from __future__ import annotations

import json

import pytest


def failed(house, *arguments, **options):
    """The last line that a run which cannot be done leaves."""
    done = house("train", *arguments, "--wait", **options)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout.count("\n") == 1
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("/no/such/folder",), "/no/such/folder is not there: give a folder"),
        (("photos", "--epochs", 0), "0 is not in the range x>=1"),
        (("photos", "--lr", 0), "0.0 is not in the range 0<x<=1"),
        (("photos", "--validation", 1), "1.0 is not in the range 0<=x<1"),
        (("photos", "--model", "/no/model"), "model folder /no/model: not there"),
        (("photos", "--model", "run:9"), "run:9 has no checkpoint"),
        (("--resume", 9), "no run 9: `blipq runs` lists them"),
        (("photos", "--resume", 9), "--resume goes on with the run's own data"),
        (("--resume", 9, "--lr", 0.1), "--resume takes one value each of --epochs"),
        (("sql:77",), "no job 77"),
    ],
)
def test_what_is_wrong_at_once_is_said_at_once(own_house, tiny_blip, photos, arguments, says):
    given = [photos if one == "photos" else one for one in arguments]
    model = () if "--model" in given or "--resume" in given else ("--model", tiny_blip)
    done = own_house("train", *given, *model)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]
    assert not (own_house.home / "daemon.lock").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("promote", "demo"), "demo is no run"),
        (("promote", 9), "no run 9: `blipq runs` lists them"),
        (("promote", 9, "--as", "a/b"), "takes letters, digits"),
        (("compare", 1, 2), "no job 1"),
        (("plot", 9), "no run 9"),
        (("runs", 9), "no run 9"),
        (("export-model", 9, "x"), "run:9 has no checkpoint"),
        (("push", 9, "not a repository"), "named OWNER/NAME"),
        (("show", "1", "--grid", "0x3"), "takes rows x columns, such as 2x3"),
    ],
)
def test_commands_on_what_is_not_there_say_so_in_a_line(own_house, arguments, says):
    done = own_house(*arguments)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]


def test_bad_data_ends_a_run_with_one_line_and_bad_pairs_are_listed(house, tiny_blip, photos, write_photos, tmp_path):
    base = ("--model", tiny_blip)
    # A column that is not there
    assert "has no column words: name one of file_name, text by --text-column" in failed(
        house, photos, *base, "--text-column", "words"
    )
    # An empty caption, one of 1,000 words, a picture twice, and a broken one: listed, not fatal
    mixed = write_photos(tmp_path / "mixed", 24)
    rows = [json.loads(line) for line in (mixed / "metadata.jsonl").read_text().splitlines()]
    rows[0]["text"], rows[1]["text"] = " ", "red " * 1000
    (mixed / "002.png").write_bytes((mixed / "003.png").read_bytes())
    (mixed / "004.png").write_bytes(b"no picture")
    (mixed / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = house("train", mixed, *base, "--epochs", 1, "--wait")
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = {(row["kind"], row["name"]) for row in house.json("runs", 2)["remarks"] if row["name"]}
    assert said == {
        ("empty caption", "000.png"), ("cut", "001.png"), ("duplicate", "003.png"), ("bad picture", "004.png"),
    }  # fmt: skip
    assert "pictures are few" in done.stderr
    assert "blipq runs 2" in done.stderr


def test_one_picture_is_refused_by_evaluate(own_house, tiny_blip, write_photos, tmp_path):
    done = own_house("evaluate", "--data", write_photos(tmp_path / "one", 1), "--model", tiny_blip)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: one picture says nothing of a model")
