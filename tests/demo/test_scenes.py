"""The generator of drawn scenes: seeded, split by caption, in the layout that Hugging Face loads."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random

import datasets
import numpy as np
import pytest
from PIL import Image

from blipq.demo import football, things
from blipq.demo.scenes import DOMAINS, draw, is_held_out, write_folder


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_seed_gives_the_same_pixels_and_words_again(domain):
    first, second, other = draw(domain, 7), draw(domain, 7), draw(domain, 8)

    assert first.caption == second.caption
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.tobytes() != other.image.tobytes()
    assert (first.image.mode, first.image.size) == ("RGB", (192, 192))


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_training_picture_has_a_held_out_caption(domain, captions_of):
    training, held_out = captions_of(domain, 5000, held_out=False), captions_of(domain, 1000, held_out=True)

    assert not set(training) & set(held_out)
    assert not any(map(is_held_out, training))
    assert all(map(is_held_out, held_out))


def test_about_a_tenth_of_the_captions_is_held_out(captions_of):
    for domain in DOMAINS:
        seen = set(captions_of(domain, 5000, held_out=False)) | set(captions_of(domain, 5000, held_out=True))
        assert len(seen) > {"scenes": 8000, "football": 300}[domain]
    assert 0.08 < np.mean([is_held_out(f"caption {k}") for k in range(5000)]) < 0.12


def test_a_pair_is_where_its_caption_says():
    seen = set()
    for seed in range(3000):
        scene = things.plan(Random(seed))
        if relation := next((r for r in things.RELATIONS if r in scene.caption), None):
            first, second = scene.things
            across, down = first.x - second.x, first.y - second.y
            seen.add(relation)
            assert {"to the left of": -across, "to the right of": across, "above": -down, "below": down}[relation] > 80
            assert (first.size, second.size) != ("large", "small")
    assert seen == set(things.RELATIONS)


def test_two_sides_never_wear_the_same_kit():
    for seed in range(500):
        match = football.plan(Random(seed))
        assert match.kits[0] != match.kits[1]


def test_the_two_domains_share_little_but_colours(captions_of):
    nouns = {word for name in things.THINGS for word in (name, things.PLURALS[name])}
    spoken = {word for caption in captions_of("football", 2000, held_out=False) for word in caption.split()}

    assert not nouns & spoken
    assert {"goalkeeper", "striker", "penalty", "saves", "celebrate", "corner", "card", "trophy"} <= spoken


def test_a_folder_loads_as_an_image_folder(tmp_path):
    # Given a folder of five football scenes
    write_folder(tmp_path / "football", "football", 5, seed=40)

    # When the datasets library reads it
    table = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "football"), split="train", cache_dir=str(tmp_path / "cache")
    )

    # Then each picture stands beside its own caption
    assert table["text"] == [draw("football", seed).caption for seed in range(40, 45)]
    assert table[0]["image"].size == (192, 192)


def test_jpegs_look_as_drawn(tmp_path):
    write_folder(tmp_path, "scenes", 2, seed=3, held_out=True)

    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    for seed, row in enumerate(rows, start=3):
        scene = draw("scenes", seed, held_out=True)
        stored = np.asarray(Image.open(tmp_path / row["file_name"]), np.int16)
        assert row["text"] == scene.caption
        assert np.abs(stored - np.asarray(scene.image, np.int16)).mean() < 5


def test_a_domain_that_is_none_is_named():
    with pytest.raises(ValueError, match="no domain 'cricket': scenes or football"):
        draw("cricket", 0)


def test_drawing_needs_no_torch():
    code = "import sys, blipq.demo.scenes; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
