from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from blipq.worker.engine.training.corpus import Photo
from blipq.worker.engine.training.events import TrainingError
from blipq.worker.engine.training.examples import Encoder
from blipq.worker.engine.training.network import Network, Precision
from blipq.worker.engine.training.ranks import Ranks
from blipq.worker.engine.training.stepper import NonFinite, Stepper


class SmallMemory(Network):
    """A network on a device that holds the scores of `pairs` pairs at once; it implements the seam, no more."""

    pairs = 2

    def logits(self, features, inputs, present, scored):
        if len(inputs) > self.pairs:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().logits(features, inputs, present, scored)


@pytest.fixture
def made(tiny_blip, plan_of, tmp_path):
    """`made(batch_size=4)`: a stepper, five examples of unequal length, and their features."""

    def make(kind=Network, **changes):
        network = kind.load(tiny_blip)
        plan = plan_of(tmp_path, freeze="vision", **changes).settled(8, large=False)
        ranks = Ranks(("cpu",))
        network.prepare(plan, ranks.device)
        stepper = Stepper(network, plan, Precision("fp32", ranks.device), ranks)
        captions = ("red", "a red square", "the blue square on the left of a white square", "a", "black square")
        examples = Encoder(network, "", 40).encode([Photo(False, 0, "", "", (caption,)) for caption in captions])
        torch.manual_seed(0)
        features = torch.randn(5, 17, 64)
        total = sum(example.targets for example in examples)
        return SimpleNamespace(stepper=stepper, examples=examples, view=features.__getitem__, total=total)

    return make


def weights(stepper):
    return {name: weight.detach().clone() for name, weight in stepper.learning.items()}


def test_micro_batches_of_unequal_length_add_up_to_the_step_of_one_batch(made):
    # Given the same five pairs at once, and in twos
    whole, parts = made(batch_size=5), made(batch_size=2, accumulation=3)
    # When each takes a step
    one = whole.stepper.step(whole.examples, whole.view, whole.total, 0, 1e-3)
    two = parts.stepper.step(parts.examples, parts.view, parts.total, 0, 1e-3)
    # Then losses, gradients and weights agree: tokens are counted over the whole step, not a micro-batch
    assert one.loss == pytest.approx(two.loss, rel=1e-6)
    assert one.grad_norm == pytest.approx(two.grad_norm, rel=1e-5)
    for name, weight in weights(whole.stepper).items():
        # Adam's first step is lr times the sign: where a gradient is all but 0 rounding decides it
        same = parts.stepper.learning[name]
        assert torch.allclose(weight, same, atol=1e-5) or (weight - same).abs().gt(1e-5).float().mean() < 0.01, name


def test_only_matrices_decay(made):
    stepper = made().stepper
    decayed, others = stepper.optimizer.param_groups
    assert decayed["weight_decay"] == 0.05
    assert others["weight_decay"] == 0.0
    assert all(weight.ndim >= 2 for weight in decayed["params"])
    assert all(weight.ndim < 2 for weight in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(stepper.learning)


def test_when_memory_runs_out_the_micro_batch_is_halved_and_the_loss_is_the_same(made):
    # Given a device that holds two pairs, asked for five at once
    large, small = made(batch_size=5), made(SmallMemory, batch_size=5)
    wanted = large.stepper.step(large.examples, large.view, large.total, 0, 1e-3)
    got = small.stepper.step(small.examples, small.view, small.total, 0, 1e-3)
    assert (got.halved, small.stepper.micro) == (1, 2)
    assert got.loss == pytest.approx(wanted.loss, rel=1e-6)
    assert got.grad_norm == pytest.approx(wanted.grad_norm, rel=1e-5)


def test_a_pair_that_does_not_fit_alone_ends_the_run_with_what_to_do(made):
    class NoMemory(SmallMemory):
        pairs = 0

    case = made(NoMemory, batch_size=4)
    with pytest.raises(TrainingError, match="one pair alone does not fit: try --gradient-checkpointing"):
        case.stepper.step(case.examples, case.view, case.total, 0, 1e-3)


def test_a_loss_that_is_no_number_changes_no_weight(made):
    case = made(batch_size=5)
    before = weights(case.stepper)
    broken = torch.full((5, 17, 64), math.nan)
    with pytest.raises(NonFinite):
        case.stepper.step(case.examples, broken.__getitem__, case.total, 0, 1e-3)
    assert all(torch.equal(weight, before[name]) for name, weight in weights(case.stepper).items())


def test_clipping_bounds_the_gradient_that_is_applied(made):
    case = made(batch_size=5, clip=1e-3)
    outcome = case.stepper.step(case.examples, case.view, case.total, 0, 0.0)
    gradients = [weight.grad for weight in case.stepper.learning.values() if weight.grad is not None]
    assert outcome.grad_norm > 1e-3
    assert torch.cat([gradient.flatten() for gradient in gradients]).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_state_goes_round(made):
    case, other = made(batch_size=5), made(batch_size=5)
    case.stepper.step(case.examples, case.view, case.total, 0, 1e-3)
    state = {name: copy.deepcopy(value) for name, value in case.stepper.state().items()}
    from blipq.worker.engine.training.checkpoint import Standing

    other.stepper.restore(state, Standing(micro=3))
    assert other.stepper.micro == 3
    assert {name: value.tolist() for name, value in other.stepper.state().items()} == {
        name: value.tolist() for name, value in state.items()
    }
