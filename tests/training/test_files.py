"""A run's files are its own: no number that comes again leads to them, and they go with it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

ENDLESS = 99_999
SHORT = ("--validation", 0, "--epochs", 1, "--wait", "--quiet")  # nothing held out: nothing is compared at the end
OPTIONS = ("--batch-size", 2, "--lr", 1e-3, "--schedule", "constant", "--warmup", 0, "--checkpoint-every", 7)


def change(house, *statements):
    with sqlite3.connect(house.home / "blipq.db", timeout=20) as ledger:
        for statement in statements:
            ledger.execute(statement)


def correct(house, folder, model, text):
    """Caption a folder and correct two of its captions; the job."""
    job = house.json("enqueue", folder, "--model", model, "--wait", "--quiet")["job"]
    chosen = "select distinct f.image_id from item i join file f on f.id = i.file_id where i.job_id = {} limit 2"
    words = f"select image_id, '{text}', 'ann', 0 from ({chosen.format(job)})"
    change(house, f"insert into edit (image_id, text, author, created_at) {words}")
    return job


def learned(house, job, model):
    """What a run on a job's corrections learns."""
    done = house("train", f"sql:{job}", "--model", model, "--epochs", 1, "--wait", "--quiet")
    assert done.returncode == 0, done.stderr
    ((folder,),) = house.sql("select folder from run order by id desc limit 1")
    pairs = [json.loads(line) for line in (Path(folder) / "pairs.jsonl").read_text().splitlines()]
    return {text for pair in pairs for text in pair["captions"]}


def forget_ledger(house):
    assert house("down").returncode == 0
    house.close()
    for path in house.home.glob("blipq.db*"):
        path.unlink()


def folder_of(house, run):
    return Path(house.sql(f"select folder from run where id = {run}")[0][0])


def flip(path):
    with open(path, "r+b") as opened:
        opened.seek(-100, 2)
        byte = opened.read(1)
        opened.seek(-100, 2)
        opened.write(bytes([byte[0] ^ 1]))


def test_a_run_learns_its_own_corrections_whatever_had_its_number_before(own_house, tiny_blip, photos, write_photos):
    house, other = own_house, write_photos(own_house.home.parent / "other", 6)
    # Given a run on two corrections, forgotten with its job, in a ledger that is lost while its home stays
    first = correct(house, photos, tiny_blip, "a red square")
    assert learned(house, first, tiny_blip) == {"a red square"}
    training = house.sql("select max(id) from job")[0][0]
    before = folder_of(house, house.sql("select max(id) from run")[0][0])
    forget_ledger(house)
    # When another ledger begins there, with the same numbers
    second = correct(house, other, tiny_blip, "a blue square")
    assert second == first
    # Then its first run learns its own corrections, and leaves what lies there alone
    files = {path: path.stat().st_mtime_ns for path in before.rglob("*")}
    assert learned(house, second, tiny_blip) == {"a blue square"}
    assert house.sql("select max(id) from job")[0][0] == training
    assert {path: path.stat().st_mtime_ns for path in before.rglob("*")} == files
    # And what is forgotten takes its own files along, and no others
    mine = folder_of(house, 1)
    rehearsed = house.json("forget", training, "--dry-run")
    assert rehearsed["files"] > 8
    assert rehearsed["bytes"] > 100_000
    assert mine.is_dir()
    gone = house("forget", training, "--yes")
    assert f"{rehearsed['files']} files of its run" in gone.stdout
    assert (mine.exists(), before.exists()) == (False, True)


def test_only_a_folder_that_names_the_run_goes_with_it(own_house, tiny_blip, photos):
    house = own_house
    for _ in range(2):
        done = house("train", photos, "--model", tiny_blip, *SHORT)
        assert done.returncode == 0, done.stderr
    one, two = folder_of(house, 1), folder_of(house, 2)
    # Given rows of a run that lead to another's folder, then to one that another host has
    change(house, f"update run set folder = '{two}' where id = 1", "update checkpoint set host = 'alpha'")
    change(house, "update checkpoint set path = '/elsewhere/7/f1-00000001' where run_id = 1")
    said = house("forget", 1, "--yes").stderr
    assert f"{two} stays: it says that it is not of run 1" in said
    assert "/elsewhere/7 stays: delete it on host alpha" in said
    assert one.is_dir()
    assert two.is_dir()
    # And a run that a job still needs is not forgotten
    assert house("pause", "train").returncode == 0
    job = house.json("train", photos, "--model", "run:2", "--epochs", 1)["runs"][0]["job"]
    refused = house("forget", 2, "--yes")
    assert (refused.returncode, refused.stderr) == (
        2,
        f"Error: job {job} needs run 2 and is not over: blipq cancel {job} first\n",
    )
    assert two.is_dir()


def test_a_folder_of_the_release_before_is_gone_on_with_promoted_and_exported(own_house, tiny_blip, photos, tmp_path):
    # Given a run whose folder is named by its number, with nothing in it that says whose it is
    house = own_house
    done = house("train", photos, "--model", tiny_blip, *OPTIONS, *SHORT)
    assert done.returncode == 0, done.stderr
    new, old = folder_of(house, 1), house.home / "runs" / "1"
    new.rename(old)
    (old / "run.json").unlink()
    change(
        house,
        f"update run set folder = '{old}'",
        f"update checkpoint set host = null, path = replace(path, '{new}', '{old}')",
    )
    # Then forgetting it would not touch it, and all else goes on as ever
    assert "stays: nothing in it says that it is all of run 1" in house("forget", 1, "--dry-run").stderr
    assert house("promote", 1, "--as", "old").returncode == 0
    assert house("export-model", 1, tmp_path / "out").returncode == 0
    done = house("train", "--resume", 1, "--epochs", 2, "--wait", "--quiet")
    assert done.returncode == 0, done.stderr
    assert folder_of(house, 1) == old
    assert [row[0] for row in house.series(1)] == list(range(1, 25))
    assert (old / "run.json").is_file()
    change(house, "delete from alias")
    assert house.json("forget", 1, "--dry-run")["folders"][0]["stays"] is None


def test_newest_and_best_that_rot_together_leave_an_older_whole_one_to_go_on_from(own_house, tiny_blip, photos):
    # Given a run that is stopped, whose newest checkpoint and best one lose a bit
    house = own_house
    run = house.json("train", photos, "--model", tiny_blip, *OPTIONS, "--keep", 4, "--epochs", ENDLESS)["runs"][0][
        "run"
    ]
    house.until(f"select 1 from loss where run_id = {run} and step >= 60")
    assert house("cancel", run).returncode == 0
    points = house.sql(f"select step, path, is_best from checkpoint where run_id = {run} order by step desc")
    rotten = {points[0][0]} | {step for step, _, is_best in points if is_best}
    for step, path, _ in points:
        if step in rotten:
            flip(Path(path) / "model.safetensors")
    whole = max(step for step, _, _ in points if step not in rotten)
    last = house.series(run)[-1][0]
    before = house.series(run)
    # A rotten best one is no model either
    refused = house("promote", run)
    assert (refused.returncode, "is damaged: the files in" in refused.stderr) == (2, True)
    # When it goes on to an end
    epochs = last // 11 + 2
    done = house("train", "--resume", run, "--epochs", epochs, "--wait", "--quiet")
    assert done.returncode == 0, done.stderr
    # Then from the older one, with the same losses again, and one of what is there is the best
    after = house.series(run)
    assert len(after) == epochs * 11 > last > whole
    assert after[: len(before)] == before
    ((path,),) = house.sql(f"select path from checkpoint where run_id = {run} and is_best")
    assert (Path(path) / "model.safetensors").is_file()
    assert house("promote", run).returncode == 0


def test_a_run_of_which_nothing_is_whole_says_so_and_deletes_nothing(own_house, tiny_blip, photos):
    house = own_house
    done = house("train", photos, "--model", tiny_blip, *OPTIONS, *SHORT)
    assert done.returncode == 0, done.stderr
    before = house.series(1), house.sql("select step, path from checkpoint order by step")
    for number, (_, path) in enumerate(before[1]):
        with open(Path(path) / ("model.safetensors", "training.safetensors")[number % 2], "r+b") as opened:
            opened.truncate(1000)
    done = house("train", "--resume", 1, "--epochs", 2, "--wait", "--quiet")
    assert done.returncode == 1
    ((note,),) = house.sql("select note from job where id = 1")
    assert note.startswith("none of the checkpoints of run 1 is whole: the files in")
    assert (house.series(1), house.sql("select step, path from checkpoint order by step")) == before
