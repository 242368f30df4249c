from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from transformers import BlipForConditionalGeneration

from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.network import Network

CPU = torch.device("cpu")


def stock(folder):
    return BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def settled(plan, **changes):
    return replace(plan, **changes).settled(10, large=False)


def test_features_scores_and_gradients_equal_hugging_faces(tiny_blip, plan_of, tmp_path):
    # Given the stock model, run as its authors do, and ours
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    ids = torch.randint(5, 20, (3, 6))
    present = torch.ones_like(ids)
    network = Network.load(tiny_blip)
    network.prepare(settled(plan_of(tmp_path), freeze="none"), CPU)
    theirs = stock(tiny_blip)
    values = (pixels.permute(0, 3, 1, 2).float() - network.mean) / network.std
    # When both predict the next token
    wanted = theirs(pixel_values=values, input_ids=ids, attention_mask=present).logits
    scored = torch.ones_like(ids, dtype=torch.bool)
    got = network.logits(network.features(pixels), ids, present, scored).view_as(wanted)
    # Then scores and gradients are the same
    assert torch.allclose(got, wanted, atol=1e-5)
    got.square().sum().backward()
    wanted.square().sum().backward()
    for name, weight in theirs.named_parameters():
        same = network.model.get_parameter(name)
        assert torch.allclose(same.grad, weight.grad, rtol=1e-3, atol=1e-4), name


def test_gradient_checkpointing_gives_identical_gradients(tiny_blip, plan_of, tmp_path):
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    ids = torch.randint(5, 20, (2, 6))
    gradients = []
    for checkpointing in (False, True):
        network = Network.load(tiny_blip)
        network.prepare(settled(plan_of(tmp_path), freeze="none", gradient_checkpointing=checkpointing), CPU)
        network.logits(network.features(pixels), ids, torch.ones_like(ids), ids > 0).square().sum().backward()
        gradients.append([weight.grad for weight in network.learning().values()])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


@pytest.mark.parametrize(("freeze", "learns"), [("vision", "text_decoder"), ("decoder", "vision_model")])
def test_what_is_frozen_does_not_learn(tiny_blip, plan_of, tmp_path, freeze, learns):
    network = Network.load(tiny_blip)
    network.prepare(settled(plan_of(tmp_path), freeze=freeze), CPU)
    assert {name.split(".")[0] for name in network.learning()} == {learns}


@pytest.mark.parametrize(
    ("freeze", "towers"), [("vision", {"text_decoder"}), ("none", {"text_decoder", "vision_model"})]
)
def test_lora_merges_into_plain_weights_that_stock_blip_loads(tiny_blip, plan_of, tmp_path, freeze, towers):
    # Given adapters that are no longer zero
    network = Network.load(tiny_blip)
    network.prepare(settled(plan_of(tmp_path), lora=True, freeze=freeze), CPU)
    assert {name.split(".")[0] for name in network.learning()} == towers
    assert all(".lora_" in name for name in network.learning())
    torch.manual_seed(2)
    for weight in network.learning().values():
        weight.data.normal_(0, 0.05)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    # When the merged weights are saved beside the config
    plain = network.weights()
    shutil.copytree(tiny_blip, tmp_path / "merged")
    save_file(
        {name: value.contiguous() for name, value in plain.items()},
        tmp_path / "merged" / "model.safetensors",
        {"format": "pt"},
    )
    merged = stock(tmp_path / "merged")
    # Then stock BLIP gives the scores of the model with adapters, and that model is as it was
    network.model.eval()
    pixels, ids = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8), torch.randint(5, 20, (2, 6))
    with torch.no_grad():
        got = network.logits(network.features(pixels), ids, torch.ones_like(ids), ids > 0).view(2, 6, -1)
        values = (pixels.permute(0, 3, 1, 2).float() - network.mean) / network.std
        wanted = merged(pixel_values=values, input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        plain_base = stock(tiny_blip)(pixel_values=values, input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got, plain_base, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in network.model.state_dict().items())


def test_weights_are_plain_blips_with_tied_ones_once(tiny_blip):
    names = set(Network.load(tiny_blip).weights())
    tied = {"text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias"}
    assert names == set(stock(tiny_blip).state_dict()) - tied


def test_another_size_interpolates_the_position_embeddings_as_hugging_face_does(tiny_blip):
    network = Network.load(tiny_blip)
    network.resize(64)
    network.model.eval()
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    values = (pixels.permute(0, 3, 1, 2).float() - network.mean) / network.std
    with torch.no_grad():
        wanted = stock(tiny_blip).vision_model(values, interpolate_pos_encoding=True).last_hidden_state
        assert torch.allclose(network.features(pixels), wanted, atol=1e-5)
    assert network.size == (64, 64)
    assert network.processor().image_processor.size["height"] == 64


def test_a_size_that_is_no_multiple_of_the_patch_is_refused(tiny_blip):
    with pytest.raises(TrainingError, match="image_size=60: takes a multiple of 8, such as 64"):
        Network.load(tiny_blip).resize(60)


def test_a_tokenizer_of_another_model_is_refused(tiny_blip, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(tiny_blip, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary.update({f"word{number}": len(vocabulary) + number for number in range(100)})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(TrainingError, match="a tokenizer of 121 words and a model of 23: they do not belong together"):
        Network.load(folder)


def test_a_folder_that_is_no_captioner_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"no config\.json in it"):
        Network.load(tmp_path)
