from __future__ import annotations

import json

import pytest

from blipq.worker.engine.training.plan import Plan

NAMES = {"base": "model", "data": "photos", "out": "run"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", 1.5),
        ("lr", 0),
        ("lr", "fast"),
        ("batch_size", 0),
        ("batch_size", True),
        ("accumulation", -1),
        ("warmup", 1),
        ("schedule", "sine"),
        ("precision", "fp8"),
        ("freeze", "both"),
        ("validation", 1.0),
        ("validation", ""),
        ("label_smoothing", -0.1),
        ("image_size", 2048),
        ("max_length", 2),
        ("keep", 0),
        ("patience", -1),
        ("seed", -1),
        ("checkpoint_prefix", "a/b"),
        ("devices", ()),
        ("data", ""),
    ],
)
def test_a_wrong_value_is_refused_in_one_line_that_names_it(name, value):
    with pytest.raises(ValueError, match=rf"^{name}=.*: takes ") as error:
        Plan(**{**NAMES, name: value})
    assert "\n" not in str(error.value)


def test_json_brings_a_plan_back():
    plan = Plan(**NAMES, epochs=3, devices=["0", "1"])
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_notebook_preset_has_its_hyper_parameters_and_yields_to_what_is_named():
    plan = Plan.from_json({**NAMES, "preset": "notebook", "epochs": 5})
    assert (plan.lr, plan.batch_size, plan.epochs, plan.freeze, plan.weight_decay) == (5e-5, 2, 5, "none", 0.01)


def test_missing_names_are_told():
    with pytest.raises(ValueError, match="needs data, out"):
        Plan.from_json({"base": "model"})


@pytest.mark.parametrize(
    ("given", "pictures", "large", "chosen"),
    [
        ({}, 999, False, ("vision", 5e-5, 30, 2)),
        ({}, 1000, False, ("none", 1e-5, 6, 2)),
        ({}, 1000, True, ("none", 2e-6, 6, 2)),
        ({"lora": True}, 5000, False, ("vision", 1e-4, 6, 2)),
        ({"epochs": 50}, 100, False, ("vision", 5e-5, 50, 0)),
        ({"epochs": 50, "patience": 3}, 100, False, ("vision", 5e-5, 50, 3)),
        ({"freeze": "none", "lr": 1e-3}, 10, True, ("none", 1e-3, 30, 2)),
    ],
)
def test_what_is_left_open_is_chosen_by_the_number_of_pictures(given, pictures, large, chosen):
    plan = Plan(**NAMES, **given).settled(pictures, large=large)
    assert (plan.freeze, plan.lr, plan.epochs, plan.patience) == chosen
