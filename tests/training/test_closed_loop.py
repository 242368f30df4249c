"""From a folder of photos to a promoted checkpoint, through the real command line, daemon and ledger.

The tests of this file share a home and build on each other: run 1 is trained by the first of them.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def trained(house, tiny_blip, photos):
    """Run 1: what the first command of a fresh machine gives."""
    return house("train", photos, "--model", tiny_blip, "--epochs", 3, "--lr", 1e-3, "--wait")


def test_one_command_trains_on_a_folder_with_nothing_else_set(house, trained, photos):
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.startswith("run 1: 9 steps, 3 epochs")
    assert "epoch 3 of 3, step 9: loss" in trained.stderr
    # The losses are one unbroken series of finite numbers
    assert [row[0] for row in house.series(1)] == list(range(1, 10))
    assert house.sql("select count(*) from loss where learning_rate > 0 and grad_norm > 0 and epoch >= 1") == [(9,)]
    assert house.sql("select epoch, step, validation_loss > 0 from epoch order by epoch") == [
        (1, 3, 1), (2, 6, 1), (3, 9, 1),
    ]  # fmt: skip
    assert house.sql("select state, note from job") == [("done", None)]
    assert house.sql("select state, done, failed, crashes from unit") == [("done", 1, 0, 0)]
    assert house.sql("select pictures, steps, data from run") == [(22, 9, str(photos))]


def test_checkpoints_are_rows_with_their_folders_and_one_is_the_best(house, trained):
    rows = house.sql("select step, path, is_best from checkpoint order by step")
    assert sum(best for _, _, best in rows) == 1
    for _, path, _ in rows:
        assert (Path(path) / "model.safetensors").is_file()
        assert Path(path).is_relative_to(house.sql("select folder from run where id = 1")[0][0])


def test_a_run_ends_with_base_against_tuned(house, trained, tiny_blip):
    rows = dict(house.sql("select model, count(*) from evaluation where run_id = 1 group by model"))
    assert rows[str(tiny_blip)] == rows["run:1"] >= 6
    ((bleu, cider),) = house.sql("select bleu_4, cider_d from leaderboard where run = 1")
    assert bleu is not None
    assert cider is not None


def test_a_run_that_is_over_goes_on_for_more_epochs(house, trained):
    before = house.series(1)
    done = house("train", "--resume", 1, "--epochs", 4, "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run 1: 12 steps, 4 epochs")
    series = house.series(1)
    assert [row[0] for row in series] == list(range(1, 13))
    assert series[:6] == before[:6]


def test_an_option_given_twice_is_two_runs_that_the_leaderboard_ranks(house, trained, tiny_blip, photos):
    options = ("--lr", 1e-5, "--lr", 2e-3, "--epochs", 2, "--freeze", "none")
    queued = house.json("train", photos, "--model", tiny_blip, *options)
    assert [one["run"] for one in queued["runs"]] == [2, 3]
    house.until("select 1 from job where id = 3 and state = 'done'")
    ranked = house.json("runs")["runs"]
    losses = [run["validation_loss"] for run in ranked]
    assert losses == sorted(losses)
    rates = {run["run"]: run["plan"]["lr"] for run in ranked}
    assert (rates[2], rates[3]) == (1e-5, 2e-3)
    assert next(run["run"] for run in ranked if run["run"] in (2, 3)) == 3
    assert "lr=0.002" in house("runs").stdout


def test_a_promoted_run_captions_under_its_name_and_compare_shows_what_changed(house, trained, tiny_blip, photos):
    assert house("promote", 3, "--as", "football").returncode == 0
    for model in (tiny_blip, "football"):
        done = house("enqueue", photos, "--model", model, "--wait", "--quiet")
        assert done.returncode == 0, done.stderr
    assert house.sql("select model from job where id = 5")[0][0].startswith("run:3@")
    changed = house.json("compare", 4, 5)
    assert changed["photos"] == 24
    assert changed["changed"] == len(changed["captions"]) > 0
    assert all(row["before"] != row["after"] for row in changed["captions"])
    assert "24 captions changed" in house("compare", 4, 5).stdout
    same = house("compare", 4, 4)
    assert (same.returncode, same.stderr.count("\n")) == (2, 1)


def test_a_promoted_checkpoint_survives_what_its_run_tidies_away(house, trained, tiny_blip):
    # Given a name for a checkpoint, when the run's own folder of it goes
    step = house.sql("select step from checkpoint where run_id = 3 and is_best")[0][0]
    kept = Path(house.sql("select folder from run where id = 3")[0][0]) / "kept" / f"{step:08d}"
    original = Path(house.sql(f"select path from checkpoint where run_id = 3 and step = {step}")[0][0])
    assert (kept / "model.safetensors").stat().st_ino == (original / "model.safetensors").stat().st_ino
    assert not (kept / "training.safetensors").exists()


def test_evaluate_scores_models_side_by_side_and_stores_the_figures(house, trained, tiny_blip, photos):
    found = house.json("evaluate", "--data", photos, "--model", tiny_blip, "--model", "football")
    assert found["pictures"] == 24
    figures = found["models"]["football"]
    assert {"BLEU-1", "BLEU-4", "CIDEr-D", "ROUGE-L"} <= figures["metrics"].keys()
    assert figures["metrics"]["BLEU-1"]["low"] <= figures["metrics"]["BLEU-1"]["value"]
    assert figures["differences"]["BLEU-1"]["value"] == pytest.approx(
        figures["metrics"]["BLEU-1"]["value"] - found["models"][str(tiny_blip)]["metrics"]["BLEU-1"]["value"]
    )
    rows = house.sql("select model, value from evaluation where run_id is null and metric = 'BLEU-1' order by id")
    assert [row[0] for row in rows] == [str(tiny_blip), figures["model"]]
    assert rows[1][1] == figures["metrics"]["BLEU-1"]["value"]


def test_an_exported_model_is_loaded_by_plain_transformers(house, trained, tmp_path):
    from transformers import BlipForConditionalGeneration, BlipProcessor

    folder = tmp_path / "tuned"
    assert house("export-model", 3, folder).returncode == 0
    BlipForConditionalGeneration.from_pretrained(folder)
    BlipProcessor.from_pretrained(folder)
    card = (folder / "README.md").read_text()
    assert "| lr | 0.002 |" in card
    assert "| BLEU-4 |" in card
    assert str(house.home) not in card
    assert not (folder / "training.safetensors").exists()
    again = house("export-model", 3, folder)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


def test_captions_that_a_person_corrected_are_data(house, trained, tiny_blip):
    # Given corrections of six photos of job 4, one of them taken back
    with sqlite3.connect(house.home / "blipq.db", timeout=10) as ledger:
        images = ledger.execute(
            "select distinct file.image_id from item join file on file.id = item.file_id where job_id = 4 order by 1"
        ).fetchall()[:6]
        statement = "insert into edit (image_id, text, author, created_at) values (?, ?, 'ann', 0)"
        ledger.executemany(statement, [(image, "a red square left") for (image,) in images])
        ledger.execute(statement, (images[-1][0], None))
    done = house("train", "sql:4", "--model", tiny_blip, "--epochs", 1, "--wait")
    assert done.returncode == 0, done.stderr
    assert "too few to hold some out" in done.stderr
    run = house.sql("select max(id) from run")[0][0]
    ((folder,),) = house.sql(f"select folder from run where id = {run}")
    lines = (Path(folder) / "corrected.jsonl").read_text().splitlines()
    assert {json.loads(line)["text"] for line in lines} == {"a red square left"}
    assert len(lines) == house.sql(f"select pictures from run where id = {run}")[0][0] == 5
    nothing = house("train", "sql:1", "--model", tiny_blip)
    assert (nothing.returncode, nothing.stderr) == (
        2,
        "Error: nobody corrected a caption of job 1: there is nothing to learn from yet\n",
    )


def test_figures_are_drawn_of_a_run_of_jobs_and_of_a_data_set(house, trained, photos, tmp_path):
    assert house("plot", 1, "-o", tmp_path / "run.png", "-o", tmp_path / "run.svg").returncode == 0
    assert (tmp_path / "run.svg").read_text().startswith("<?xml")
    for name, what in (("jobs", (4, 5)), ("job", (5,)), ("data", (photos,))):
        done = house("show", *what, "--grid", "2x3", "-o", tmp_path / f"{name}.png")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / f"{name}.png") as figure:
            assert figure.width > figure.height / 2 > 100


def test_a_dry_run_says_what_would_be_and_queues_nothing(house, trained, tiny_blip, photos):
    before = house.sql("select count(*) from run")
    done = house("train", photos, "--model", tiny_blip, "--epochs", 5, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "22 pictures with 22 captions to learn from, 2 held out" in done.stdout
    assert "5 epochs of 3 steps on cpu" in done.stdout
    assert house.sql("select count(*) from run") == before
