from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import datasets
import pytest
from PIL import Image

from blipq.worker.engine.training import sources
from blipq.worker.engine.training.events import TrainingError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three pictures, no captions yet."""
    made = tmp_path / "data"
    made.mkdir()
    for name in ("one", "two", "three"):
        Image.new("RGB", (4, 4), "red").save(made / f"{name}.png")
    return made


def opened(data, tmp_path, **named):
    options = {"split": "train", "validation": None, "picture_column": None, "caption_column": None, **named}
    return sources.open_data(str(data), scratch=tmp_path / "scratch", **options)


def rows(source):
    return [(Path(source.name(row)).name, source.captions(row)) for row in range(len(source))]


def test_metadata_jsonl_with_one_caption_a_picture(folder, tmp_path):
    lines = [{"file_name": "one.png", "text": " a  red\tsquare "}, {"file_name": "two.png", "text": "two"}]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source, _ = opened(folder, tmp_path)
    assert rows(source) == [("one.png", ["a red square"]), ("two.png", ["two"])]
    assert source.read(0) == (folder / "one.png").read_bytes()


def test_metadata_jsonl_with_several(folder, tmp_path):
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "one.png", "captions": ["a", "b", None]}))
    source, _ = opened(folder, tmp_path)
    assert rows(source) == [("one.png", ["a", "b", ""])]


def test_metadata_csv(folder, tmp_path):
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "text"], ["one.png", "a, b"], ["two.png", ""]])
    source, _ = opened(folder, tmp_path)
    assert rows(source) == [("one.png", ["a, b"]), ("two.png", [""])]


def test_pictures_of_equal_stems_have_their_own_captions(folder, tmp_path):
    Image.new("RGB", (4, 4), "blue").save(folder / "one.jpg")
    (folder / "one.txt").write_text("words of the jpeg")
    (folder / "one.png.txt").write_text("words of the png")
    source, _ = opened(folder, tmp_path)
    assert dict(rows(source)) == {
        "one.jpg": ["words of the jpeg"],
        "one.png": ["words of the png"],
        "three.png": [""],
        "two.png": [""],
    }


def test_captions_beside_pictures(folder, tmp_path):
    (folder / "one.txt").write_text("a\nred square\n")
    (folder / "deep").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "deep" / "four.jpg")
    (folder / "deep" / "four.txt").write_text("black")
    source, _ = opened(folder, tmp_path)
    assert rows(source) == [
        ("four.jpg", ["black"]),
        ("one.png", ["a red square"]),
        ("three.png", [""]),
        ("two.png", [""]),
    ]
    assert source.read(0) == (folder / "deep" / "four.jpg").read_bytes()


def test_jsonl_of_paths_as_a_job_hands_it_over(folder, tmp_path):
    file = tmp_path / "job.jsonl"
    file.write_text(json.dumps({"path": str(folder / "one.png"), "text": "one"}))
    source, _ = opened(file, tmp_path)
    assert source.read(0) == (folder / "one.png").read_bytes()


def test_parquet_with_pictures_in_it(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "blue").save(buffer, "PNG")
    table = datasets.Dataset.from_dict(
        {"picture": [{"bytes": buffer.getvalue(), "path": "x.png"}], "caption": ["blue"]}
    )
    (tmp_path / "data").mkdir()
    table.cast_column("picture", datasets.Image()).to_parquet(tmp_path / "data" / "train-0.parquet")
    for data in (tmp_path / "data", tmp_path / "data" / "train-0.parquet"):
        source, _ = opened(data, tmp_path)
        assert rows(source) == [("x.png", ["blue"])]
        assert source.read(0) == buffer.getvalue()


def test_a_named_split_is_a_folder_of_its_own(folder, tmp_path):
    for split in ("train", "held"):
        (folder / split).mkdir()
        (folder / split / "one.png").write_bytes((folder / "one.png").read_bytes())
        (folder / split / "metadata.jsonl").write_text(json.dumps({"file_name": "one.png", "text": split}))
    train, held = opened(folder, tmp_path, validation="held")
    assert rows(train) == [("one.png", ["train"])]
    assert held is not None
    assert rows(held) == [("one.png", ["held"])]
    assert held.read(0) == (folder / "one.png").read_bytes()
    with pytest.raises(TrainingError, match="has no split test: it has held, train"):
        opened(folder, tmp_path, validation="test")


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"caption_column": "words"}, r"no column words: name one of file_name, text, size by --text-column"),
        ({"picture_column": "photo"}, r"no column photo: name one of file_name, text, size by --image-column"),
        ({"caption_column": "size"}, r"column size of .* holds no text: name another by --text-column"),
    ],
)
def test_a_wrong_column_is_named_with_those_there_are(folder, tmp_path, named, says):
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "one.png", "text": "a", "size": 3}))
    with pytest.raises(TrainingError, match=says):
        opened(folder, tmp_path, **named)


def test_columns_that_are_called_otherwise_are_asked_for(folder, tmp_path):
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "one.png", "inscription": "a"}))
    with pytest.raises(TrainingError, match="no column that looks like captions: name one of file_name, inscription"):
        opened(folder, tmp_path)
    source, _ = opened(folder, tmp_path, caption_column="inscription")
    assert rows(source) == [("one.png", ["a"])]


def test_pictures_without_captions_are_refused_with_what_is_needed(folder, tmp_path):
    with pytest.raises(TrainingError, match=r"holds no captions: it needs metadata\.jsonl"):
        opened(folder, tmp_path)


def test_a_broken_file_is_one_line(folder, tmp_path):
    (folder / "metadata.jsonl").write_text('{"file_name": "one.png", "text": "a"}\n{"file_name":')
    with pytest.raises(TrainingError, match=r"metadata\.jsonl cannot be read: .*") as error:
        opened(folder, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("data", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(tmp_path, data):
    with pytest.raises(TrainingError, match="does not exist: give a folder, a file, or a Hub dataset"):
        opened(data, tmp_path)


def test_a_missing_file_is_an_os_error(folder, tmp_path):
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "gone.png", "text": "a"}))
    source, _ = opened(folder, tmp_path)
    with pytest.raises(FileNotFoundError):
        source.read(0)


def test_a_dataset_of_the_hub_without_a_network_is_one_line_with_what_to_do(tmp_path):
    # Given no network (`HF_HUB_OFFLINE` is set for all tests), and nothing downloaded before
    with pytest.raises(TrainingError, match="give a folder of photos with captions") as failure:
        sources.open_data("nobody/at-all", "train", None, None, None, tmp_path)
    assert str(failure.value).startswith("dataset nobody/at-all cannot be reached (")
    assert "\n" not in str(failure.value)
