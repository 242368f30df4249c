from __future__ import annotations

import pytest
import torch

from blipq.worker.engine.training.corpus import Photo
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.examples import Encoder, Example, collate, steps
from blipq.worker.engine.training.network import Network


@pytest.fixture(scope="module")
def network(tiny_blip):
    return Network.load(tiny_blip)


def photo(*captions: str) -> Photo:
    return Photo(False, 0, "photo.png", "", captions)


def test_a_caption_begins_with_the_models_own_first_token_and_ends_with_sep(network):
    (example,) = Encoder(network, "", 40).encode([photo("a red square")])
    words = network.tokenizer.convert_ids_to_tokens(example.ids[1:])
    assert example.ids[0] == network.model.config.text_config.bos_token_id == network.bos
    assert words == ["a", "red", "square", "[SEP]"]
    assert example.targets == 4


def test_prompt_and_padding_are_no_targets(network):
    encoder = Encoder(network, "a picture of", 40)
    examples = encoder.encode([photo("the red square", "red")])
    tokens = collate(examples, network.pad, torch.device("cpu"))
    assert tokens.inputs.shape == (2, 7)
    assert tokens.present.sum(1).tolist() == [7, 5]
    # the last prompt token predicts the first word
    assert tokens.scored.int().tolist() == [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0]]
    words = network.tokenizer.convert_ids_to_tokens(tokens.targets)
    assert words == ["the", "red", "square", "[SEP]", "red", "[SEP]"]
    assert network.pad not in tokens.targets


def test_a_thousand_words_are_cut_and_no_end_is_learned(network):
    encoder = Encoder(network, "", 12)
    (example,) = encoder.encode([photo("red " * 1000)])
    assert len(example.ids) == 12
    assert network.sep not in example.ids
    assert encoder.cut == [0]


def test_a_longest_length_past_the_positions_is_the_positions(network):
    assert Encoder(network, "", 10_000).max_length == 512


def test_a_prompt_that_leaves_no_room_is_refused(network):
    with pytest.raises(TrainingError, match="the prompt leaves no room in 5 tokens"):
        Encoder(network, "a picture of the square", 5)


def test_a_base_of_another_vocabulary_is_refused_with_the_words_it_lacks(network):
    with pytest.raises(TrainingError, match="another vocabulary: it lacks 5 of the captions' 7 words"):
        Encoder(network, "", 40).encode([photo("ein rotes Quadrat a red neben Blau")])


def test_an_unknown_word_or_two_are_counted(network):
    encoder = Encoder(network, "", 40)
    encoder.encode([photo("a red zebra on the left")])
    assert dict(encoder.unknown) == {"zebra": 1}


def test_an_epochs_steps_take_each_pair_once_and_share_the_rest():
    parts = list(steps(25, 8, seed=3, epoch=1))
    assert sorted(len(part) for part in parts) == [6, 6, 6, 7]
    assert sorted(row for part in parts for row in part) == list(range(25))
    later = list(steps(25, 8, seed=3, epoch=1, skip=2))
    assert [part.tolist() for part in later] == [part.tolist() for part in parts[2:]]
    assert [part.tolist() for part in steps(25, 8, seed=3, epoch=2)] != [part.tolist() for part in parts]


def test_targets_are_what_is_not_given():
    assert Example(0, (1, 2, 3, 4), 2).targets == 2
