from __future__ import annotations

import math

import pytest
import torch

from blipq.worker.engine.training.objective import cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_equals_torchs_cross_entropy_gradient_included(smoothing):
    torch.manual_seed(0)
    scores, targets = torch.randn(7, 50, requires_grad=True), torch.randint(50, (7,))
    ours, unsmoothed = cross_entropy(scores, targets, smoothing)
    (gradient,) = torch.autograd.grad(ours, scores)
    same = torch.nn.functional.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="sum")
    assert ours.item() == pytest.approx(same.item(), rel=1e-6)
    assert torch.allclose(gradient, torch.autograd.grad(same, scores)[0], atol=1e-6)
    plain = torch.nn.functional.cross_entropy(scores, targets, reduction="sum")
    assert unsmoothed.item() == pytest.approx(plain.item(), rel=1e-6)
    assert not unsmoothed.requires_grad


def test_the_floor_of_a_smoothed_loss_over_blips_vocabulary():
    # Given scores that put exactly the smoothed share on the target
    words, smoothing = 30_524, 0.1
    target = math.log(1 - smoothing + smoothing / words)
    scores = torch.full((1, words), math.log(smoothing / words))
    scores[0, 0] = target
    loss, unsmoothed = cross_entropy(scores, torch.tensor([0]), smoothing)
    assert loss.item() == pytest.approx(1.3577, abs=2e-4)
    assert unsmoothed.item() == pytest.approx(-target, abs=1e-5)
