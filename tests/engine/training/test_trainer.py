from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blipq.worker.engine.captioner import open_captioner
from blipq.worker.engine.decoding import Decoding
from blipq.worker.engine.training.events import (
    Done,
    Epoch,
    Evaluation,
    Note,
    Saved,
    Started,
    Step,
    Stopped,
    TrainingError,
)
from blipq.worker.engine.training.trainer import train


def losses(events):
    return [
        (event.step, event.loss, event.unsmoothed, event.lr, event.grad_norm)
        for event in events
        if isinstance(event, Step)
    ]


def epochs_of(events):
    epochs = [event for event in events if isinstance(event, Epoch)]
    return [(epoch.epoch, epoch.step, epoch.loss, epoch.validation_loss) for epoch in epochs]


def captions(folder: str | Path, photos: list[Path]) -> list[str]:
    captioner = open_captioner(str(folder), "cpu", "fp32")
    size = captioner.preprocessing.height, captioner.preprocessing.width
    pixels = np.stack(
        [np.asarray(Image.open(photo).convert("RGB").resize(size, Image.Resampling.BICUBIC)) for photo in photos]
    )
    written = captioner.caption(pixels, [""] * len(photos), Decoding(), [0] * len(photos))
    captioner.close()
    return [caption.text for caption in written]


def test_eight_pairs_are_learned_by_heart_in_200_steps(photos, plan_of, pairs, of_kind):
    # Given eight pictures, each with a caption of its own
    folder = photos(8)
    # When the right recipe runs 50 epochs of four steps
    events = list(train(plan_of(folder, epochs=50, freeze="none", schedule="constant", label_smoothing=0.0)))
    # Then a plain captioner of the checkpoint writes each caption back
    done = of_kind(events, Done)[0]
    assert done.step == 200
    wanted = [f"a {first} square on the left of a {second} square" for first, second in pairs[:8]]
    assert captions(done.best_path, sorted(folder.glob("*.png"))) == wanted


def test_the_run_says_what_it_does_and_ends_with_done(photos, plan_of, of_kind):
    events = list(train(plan_of(photos(30), epochs=3, validation=0.2)))
    started = of_kind(events, Started)[0]
    assert (started.pictures, started.validation_pictures, started.steps) == (24, 6, 36)
    assert started.plan["freeze"] == "vision"
    assert [event.step for event in of_kind(events, Step)] == list(range(1, 37))
    epochs = of_kind(events, Epoch)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert all(epoch.validation_loss > 0 for epoch in epochs)
    saved = of_kind(events, Saved)
    best = min(epochs, key=lambda epoch: epoch.validation_loss)
    done = events[-1]
    assert isinstance(done, Done)
    assert done.best_step == best.step
    assert done.best_path == next(event.path for event in saved if event.step == best.step)
    assert [event.model for event in of_kind(events, Evaluation)] == ["base", "tuned"]
    assert of_kind(events, Evaluation)[1].differences["bleu_4"]


def test_a_seed_makes_two_runs_equal(photos, plan_of, tmp_path):
    folder = photos(20)
    first = losses(train(plan_of(folder, out=str(tmp_path / "one"), augment=True, lora=True)))
    second = losses(train(plan_of(folder, out=str(tmp_path / "two"), augment=True, lora=True)))
    other = losses(train(plan_of(folder, out=str(tmp_path / "three"), augment=True, lora=True, seed=1)))
    assert first == second != other


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "vision"},
        {"freeze": "none", "augment": True},
        {"lora": True},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"schedule": "cosine-epoch", "accumulation": 2},
    ],
    ids=str,
)
def test_a_resumed_run_continues_the_series_of_an_unbroken_one(photos, plan_of, tmp_path, changes):
    # Given an unbroken run
    folder = photos(20)
    whole = list(train(plan_of(folder, out=str(tmp_path / "whole"), epochs=3, **changes)))
    # When another is stopped in the middle of an epoch and resumed
    plan = plan_of(folder, out=str(tmp_path / "broken"), epochs=3, **changes)
    count = iter(range(1000))
    first = list(train(plan, stopping=lambda: next(count) > 13))
    assert isinstance(first[-1], Stopped)
    rest = list(train(plan, Path(first[-1].path)))
    # Then the two parts are one series, and end alike
    assert 0 < len(losses(first)) < len(losses(whole))
    assert losses(first) + losses(rest) == losses(whole)
    assert epochs_of(first) + epochs_of(rest) == epochs_of(whole)
    assert rest[-1].best_step == whole[-1].best_step


@pytest.mark.parametrize("what", ["validation", "captions of base"])
def test_a_run_stops_between_its_steps_too_and_goes_on(photos, plan_of, tmp_path, of_kind, what):
    folder = photos(20)
    whole = list(train(plan_of(folder, out=str(tmp_path / "whole"))))
    # Given a run that is asked to stop while it validates, or compares base and tuned
    plan, first = plan_of(folder, out=str(tmp_path / "broken")), []
    first.extend(train(plan, stopping=lambda: getattr(first[-1], "what", "") == what))
    assert isinstance(first[-1], Stopped)
    # When it is resumed
    rest = list(train(plan, Path(first[-1].path)))
    # Then nothing is missing and nothing is there twice
    assert losses(first) + losses(rest) == losses(whole)
    assert epochs_of(first) + epochs_of(rest) == epochs_of(whole)
    assert len(of_kind(rest, Evaluation)) == 2


def test_patience_ends_the_run_at_the_validation_minimum(photos, plan_of, of_kind):
    # Given a learning rate that soon overshoots
    events = list(train(plan_of(photos(30), epochs=40, patience=2, lr=0.03, validation=0.3, schedule="constant")))
    epochs = of_kind(events, Epoch)
    best = min(epochs, key=lambda epoch: epoch.validation_loss)
    done = events[-1]
    assert done.reason == "the validation no longer improved"
    assert len(epochs) == best.epoch + 2 < 40
    assert done.best_step == best.step
    assert Path(done.best_path).is_dir()


def test_named_epochs_are_run_to_the_end_and_the_best_is_kept(photos, plan_of, of_kind):
    events = list(train(plan_of(photos(30), epochs=9, lr=0.03, validation=0.3, schedule="constant", keep=1)))
    epochs = of_kind(events, Epoch)
    assert len(epochs) == 9
    assert events[-1].best_step == min(epochs, key=lambda epoch: epoch.validation_loss).step
    assert Path(events[-1].best_path).is_dir()


def test_few_pictures_are_not_split_and_it_is_said(photos, plan_of, of_kind):
    events = list(train(plan_of(photos(8), patience=2)))
    kinds = [note.kind for note in of_kind(events, Note)]
    assert "no split" in kinds
    assert "no evaluation" in kinds
    assert of_kind(events, Started)[0].validation_pictures == 0
    assert all(epoch.validation_loss is None for epoch in of_kind(events, Epoch))
    assert events[-1].best_step == events[-1].step


def test_one_held_out_picture_is_too_few_for_cider_and_it_is_said(photos, plan_of, of_kind):
    events = list(train(plan_of(photos(20), epochs=1, validation=0.05)))
    tuned = of_kind(events, Evaluation)[1]
    assert tuned.pictures == 1
    assert "cider_d" in tuned.missing
    assert tuned.metrics["bleu_1"]["value"] >= 0
    assert tuned.warnings


def test_one_picture_alone_is_learned_from(photos, plan_of):
    assert isinstance(list(train(plan_of(photos(1))))[-1], Done)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_pictures(photos, plan_of, of_kind):
    # Given a learning rate that breaks the weights
    folder = photos(8)
    events = []
    running = train(plan_of(folder, lr=1.0, clip=0.0, weight_decay=1e30, epochs=9, checkpoint_every=1))
    with pytest.raises(TrainingError, match=r"no finite number; its pictures: 00\d\.png, 00\d\.png") as failure:
        events.extend(running)
    assert failure.value.kind == "loss"
    # Then the checkpoint before it is still there, and loads
    saved = of_kind(events, Saved)
    assert len(captions(saved[0].path, sorted(folder.glob("*.png"))[:1])) == 1


def test_light_augmentation_needs_the_tower_each_time(photos, plan_of, tmp_path):
    list(train(plan_of(photos(4), epochs=1, augment=True)))
    assert not list((tmp_path / "run").rglob("*.f16"))
