from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BlipForConditionalGeneration, BlipProcessor

from blipq.worker.engine.training import checkpoint
from blipq.worker.engine.training.checkpoint import Standing
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.network import Network


@pytest.fixture
def network(tiny_blip):
    return Network.load(tiny_blip)


@pytest.fixture
def plan(plan_of, tmp_path):
    return replace(plan_of(tmp_path), checkpoint_prefix="7-")


MOMENTS = {"exp_avg:weight": torch.arange(4.0), "step:weight": torch.tensor(3.0)}


def test_a_checkpoint_is_a_folder_that_plain_transformers_loads(network, plan):
    path, digest = checkpoint.write(plan, network, MOMENTS, Standing(step=12))
    assert path == Path(plan.out) / "7-00000012"
    assert len(digest) == 64
    model = BlipForConditionalGeneration.from_pretrained(path)
    assert torch.equal(
        model.text_decoder.cls.predictions.decoder.weight, model.text_decoder.bert.embeddings.word_embeddings.weight
    )
    for name, weight in network.model.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    assert BlipProcessor.from_pretrained(path).tokenizer.get_vocab() == network.tokenizer.get_vocab()
    assert not list(path.glob("*.bin"))
    assert not list(path.glob("*.pt"))


def test_what_a_resume_needs_comes_back(network, plan):
    standing = Standing(step=12, epoch=2, row=3, loss=1.5, tokens=40, best=0.7, best_name="7-00000008", micro=4)
    path, _ = checkpoint.write(plan, network, MOMENTS, standing)
    moments, back = checkpoint.read(path, plan)
    assert back == standing
    assert {name: value.tolist() for name, value in moments.items()} == {
        name: value.tolist() for name, value in MOMENTS.items()
    }


def test_a_resume_with_another_seed_is_refused_and_with_more_epochs_is_not(network, plan):
    path, _ = checkpoint.write(plan, network, MOMENTS, Standing(step=1))
    checkpoint.read(path, replace(plan, epochs=9, keep=5, devices=("cpu", "cpu")))
    with pytest.raises(TrainingError, match="a resume cannot change the run: seed was 0, is 1"):
        checkpoint.read(path, replace(plan, seed=1))


def test_a_folder_that_is_no_checkpoint_is_refused(tiny_blip, plan):
    with pytest.raises(TrainingError, match="is no checkpoint to resume from"):
        checkpoint.read(tiny_blip, plan)


def test_a_full_disk_in_the_middle_leaves_the_old_checkpoint_valid(network, plan):
    # Given a checkpoint, and a limit that the system puts on the size of files
    old, _ = checkpoint.write(plan, network, MOMENTS, Standing(step=1))
    pid = os.fork()
    if pid == 0:
        # When the weights of the next one do not fit
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            checkpoint.write(plan, network, MOMENTS, Standing(step=2))
        except TrainingError as error:
            fine = error.kind == "disk" and "free some room and retry" in str(error) and "\n" not in str(error)
            os._exit(0 if fine else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    # Then the old one is the only one, and whole
    assert checkpoint.checkpoints(Path(plan.out)) == [old]
    assert checkpoint.read(old, plan)[1].step == 1
    assert sorted(path.name for path in Path(plan.out).iterdir()) == [old.name]


def test_too_little_room_is_seen_before_the_start(network, plan):
    Path(plan.out).mkdir()
    checkpoint.demand_room(plan, 1_000_000, 0)
    with pytest.raises(TrainingError, match=r"GB free and the run needs .* \(4 checkpoints of 1000000000.00 GB\)"):
        checkpoint.demand_room(plan, 10**18, 0)


def test_the_newest_and_the_best_are_kept(network, plan):
    for step in (1, 2, 3, 4):
        checkpoint.write(plan, network, MOMENTS, Standing(step=step))
    checkpoint.prune(Path(plan.out), 2, "7-00000001")
    left = [path.name for path in checkpoint.checkpoints(Path(plan.out))]
    assert left == ["7-00000001", "7-00000003", "7-00000004"]


def test_writing_a_step_again_replaces_it(network, plan):
    checkpoint.write(plan, network, MOMENTS, Standing(step=1))
    path, _ = checkpoint.write(plan, network, MOMENTS, Standing(step=1, epoch=1))
    assert checkpoint.read(path, plan)[1].epoch == 1
    assert len(checkpoint.checkpoints(Path(plan.out))) == 1


def test_what_a_killed_run_left_half_written_is_cleared_and_never_resumed_from(network, plan):
    path, _ = checkpoint.write(plan, network, MOMENTS, Standing(step=1))
    path.rename(path.with_name(".7-00000002.partial"))
    assert checkpoint.checkpoints(Path(plan.out)) == []
    checkpoint.clear(Path(plan.out))
    assert list(Path(plan.out).iterdir()) == []
