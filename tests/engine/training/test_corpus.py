from __future__ import annotations

import json

import numpy as np
import pytest

from blipq.worker.engine.pool import DecodePool
from blipq.worker.engine.training.corpus import Corpus, Notes, gather
from blipq.worker.engine.training.events import Note, TrainingError
from blipq.worker.engine.training.pictures import LIMITS, Pictures, augmented, decoder
from blipq.worker.engine.training.sources import open_data


@pytest.fixture(scope="module")
def decode():
    with DecodePool(1, LIMITS) as pool:
        yield decoder(pool, (32, 32), 3)


@pytest.fixture
def gathered(decode, tmp_path):
    """`gathered(folder)`: the corpus, and the notes as (kind, name)."""

    def make(folder, share=0.2, seed=0, validation=None):
        train, named = open_data(str(folder), "train", validation, None, None, tmp_path / "scratch")
        events, looking = [], gather(train, named, share, seed, decode, 2)
        while True:
            try:
                events.append(next(looking))
            except StopIteration as end:
                return end.value, [(event.kind, event.name) for event in events if isinstance(event, Note)]

    return make


def names(photos):
    return {photo.name for photo in photos}


def add(folder, *lines):
    with (folder / "metadata.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def test_a_seeded_share_of_the_pictures_is_held_out(photos, gathered):
    folder = photos(30)
    first, notes = gathered(folder)
    assert (len(first.train), len(first.validation)) == (24, 6)
    assert not names(first.train) & names(first.validation)
    assert notes == []
    assert names(gathered(folder)[0].validation) == names(first.validation)
    assert names(gathered(folder, seed=1)[0].validation) != names(first.validation)


def test_a_picture_that_was_looked_at_is_not_decoded_again(photos, decode, tmp_path):
    # Given a decoder that counts, and a copy of one picture
    folder, decoded = photos(4), []
    (folder / "copy.png").write_bytes((folder / "000.png").read_bytes())
    add(folder, {"file_name": "copy.png", "text": "a red square"})

    def counting(data):
        decoded.append(data)
        return decode(data)

    sources = open_data(str(folder), "train", None, None, None, tmp_path / "scratch")
    pictures = Pictures(*sources, counting, (32, 32))
    looking = gather(*sources, 0.0, 0, counting, 1, pictures.keep)
    while True:
        try:
            next(looking)
        except StopIteration as end:
            corpus = end.value
            break
    assert (len(corpus.train), len(decoded)) == (4, 5)
    # When the run asks for the pixels, they are those of decoding it anew
    for photo in corpus.train:
        assert np.array_equal(pictures.pixels(photo), decode((folder / photo.name).read_bytes()))
    assert len(decoded) == 5


def test_copies_of_a_picture_are_one_and_never_on_both_sides(photos, gathered):
    # Given each picture a second time under another name and with another caption
    folder = photos(24)
    for photo in sorted(folder.glob("*.png")):
        (folder / f"copy-{photo.name}").write_bytes(photo.read_bytes())
        add(folder, {"file_name": f"copy-{photo.name}", "text": "a copy"})
    corpus, notes = gathered(folder)
    assert len(corpus.train) + len(corpus.validation) == 24
    assert all(len(photo.captions) == 2 for photo in (*corpus.train, *corpus.validation))
    assert len([kind for kind, _ in notes if kind == "duplicate"]) == 24


def test_bad_pairs_are_named_and_left_out(photos, gathered):
    folder = photos(20)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    add(
        folder,
        {"file_name": "broken.png", "text": "broken"},
        {"file_name": "gone.png", "text": "gone"},
        {"file_name": "000.png", "text": "  "},
    )
    corpus, notes = gathered(folder)
    assert notes == [("bad picture", "broken.png"), ("bad picture", "gone.png"), ("empty caption", "000.png")]
    assert len(corpus.train) + len(corpus.validation) == 20


def test_what_is_also_in_the_named_validation_split_is_not_learned_from(photos, gathered, tmp_path):
    both = tmp_path / "both"
    both.mkdir()
    photos(6, "both/train")
    photos(2, "both/held")
    corpus, notes = gathered(both, validation="held")
    assert len(corpus.train) == 4
    assert len(corpus.validation) == 2
    assert [kind for kind, _ in notes] == ["duplicate", "duplicate"]


def test_no_captions_at_all_is_an_error_that_counts(photos, gathered):
    folder = photos(3)
    add(folder)
    lines = [json.dumps({"file_name": f"{number:03}.png", "text": ""}) for number in range(3)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(TrainingError, match=r"no picture with a caption is left .*3 empty caption.*: mend the data"):
        gathered(folder)


def test_a_flood_of_bad_pairs_is_counted_after_the_first_thousand():
    notes = Notes()
    passed = [note for number in range(1_005) for note in notes.of("bad picture", "gone", f"{number}.png")]
    assert len(passed) == 1_000
    assert [note.message for note in notes.rest()] == ["5 more: bad picture"]


def test_the_list_of_pairs_goes_round(photos, gathered, tmp_path):
    corpus, _ = gathered(photos(22))
    corpus.write(tmp_path / "pairs.jsonl")
    assert Corpus.read(tmp_path / "pairs.jsonl") == corpus


def test_a_picture_that_changed_since_is_named(photos, gathered, decode, tmp_path):
    folder = photos(4)
    corpus, _ = gathered(folder)
    sources = open_data(str(folder), "train", None, None, None, tmp_path / "scratch")
    pictures = Pictures(*sources, decode, (32, 32))
    assert pictures.pixels(corpus.train[0]).shape == (32, 32, 3)
    (folder / corpus.train[1].name).write_bytes((folder / corpus.train[2].name).read_bytes())
    with pytest.raises(TrainingError, match=r"001\.png changed since the run began"):
        pictures.pixels(corpus.train[1])


def test_augmentation_is_seeded_light_and_never_a_flip():
    # Given a picture that is dark on the left and bright on the right
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, 16:] = 200
    varied = [augmented(pixels, [seed]) for seed in range(50)]
    assert all(one.shape == pixels.shape and one.dtype == np.uint8 for one in varied)
    assert len({one.tobytes() for one in varied}) == 50
    assert augmented(pixels, [7]).tobytes() == augmented(pixels, [7]).tobytes()
    assert all(one[:, :8].mean() < one[:, 24:].mean() for one in varied)
    assert np.mean([one.mean() for one in varied]) == pytest.approx(pixels.mean(), rel=0.1)
