"""Saturated networks: the attacks find what is there, and say that gradients vanish."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tools import Through
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.attacks.ensemble import AttackEnsemble
from cgro.attacks.gradient_masking import look
from cgro.attacks.images import Goal, correct, evaluation_attack
from cgro.base.errors import AccuracyWarning
from cgro.data.batches import Images
from cgro.training.config import TrainingConfig
from cgro.training.run import TrainingRun

STREAM = np.random.SeedSequence(0)
BUDGET = Budget("inf", 0.1)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Images]:
    """A small network trained adversarially on digits, and 80 test images."""
    run = TrainingRun(TrainingConfig(samples=200, epochs=8, width=4, attack_steps=2, evaluate_every=8, device="cpu"))
    run.run(lambda _done: None)
    return run.trainer.model.eval(), run.data.test.take(torch.arange(80))


SATURATED = {
    "probabilities": lambda z: z.softmax(1),
    "saturated probabilities": lambda z: (100 * z).softmax(1),
    "scaled logits": lambda z: 100 * z,
    "hugely scaled logits": lambda z: 1e5 * z,
    "log-probabilities": lambda z: (100 * z).log_softmax(1),
}


@pytest.mark.parametrize("kind", SATURATED)
def test_the_true_number_is_found_whatever_the_scale_of_the_outputs(kind: str, trained) -> None:
    """A function that grows with the logits changes no class, so robust accuracy is that of the network itself.

    Plain PGD may only be stronger for it: where the cross-entropy is sure, it is a margin here.
    """
    model, data = trained
    truth = int(AttackEnsemble(BUDGET, steps=20).correct(model, data, STREAM)["apgd-targeted"].sum())
    plain = int(correct(model, data, evaluation_attack(BUDGET, 10), STREAM).sum())
    assert 0 < truth < int(correct(model, data).sum()) - 10
    saturated = Through(SATURATED[kind], model)
    with pytest.warns(AccuracyWarning):
        assert (
            abs(int(AttackEnsemble(BUDGET, steps=20).correct(saturated, data, STREAM)["apgd-targeted"].sum()) - truth)
            <= 1
        )
    with pytest.warns(AccuracyWarning, match="vanish"):
        assert truth - 1 <= int(correct(saturated, data, evaluation_attack(BUDGET, 10), STREAM).sum()) <= plain + 2


def test_an_ordinary_network_gets_no_warning(trained) -> None:
    model, data = trained
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        correct(model, data, evaluation_attack(BUDGET), STREAM)
        AttackEnsemble(BUDGET, steps=2).correct(model, data, STREAM)
    found = look(model.eval(), data, 50)
    assert found.record() == {
        "correct_images": int(correct(model, data).sum()),
        "vanishing_gradients": 0,
        "outputs": "logits",
        "not_finite": 0,
    }


def test_vanishing_gradients_are_counted(trained) -> None:
    """Logits scaled by a million: the cross-entropy of float32 is exactly 0 at every correct image."""
    model, data = trained
    found = look(Through(lambda z: 1e6 * z, model), data, 50)
    assert found.vanishing == int(found.right.sum()) > 20
    assert found.rounded == 0
    thresholds = look(Through(lambda z: z.detach(), model), data, 50)
    assert thresholds.vanishing == int(thresholds.right.sum())
    assert thresholds.rounded == 0
    squashed = look(Through(lambda z: (200 * (z - z.amax(1, keepdim=True).detach() - 1)).sigmoid(), model), data, 50)
    assert 0 < squashed.rounded <= squashed.vanishing == int(squashed.right.sum())


def test_a_network_without_gradients_is_reported_and_a_constant_one_is_not(trained) -> None:
    """Thresholds: autograd has no path from the logits to the image."""
    model, data = trained
    with pytest.warns(AccuracyWarning, match="vanishes at"):
        correct(Through(lambda z: z.detach(), model), data, evaluation_attack(BUDGET), STREAM)
    constant = Through(lambda z: 0 * z + torch.tensor([2.0] + [0.0] * 9), model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = correct(constant, data, evaluation_attack(BUDGET), STREAM)
    assert torch.equal(kept, data.labels == 0)


def test_the_loss_is_the_cross_entropy_and_never_saturates() -> None:
    """Against log1p(exp(-m)) in float64 where float32 rounds it; its slope in m is negative however large m is."""
    m = torch.tensor([-5.0, 0.0, 3.0, 11.9, 12.1, 17.0, 30.0, 39.9, 40.1, 90.0, 1e4, 1e8])

    class Margin(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0], 0 * x[:, 0]], 1)

    goal = Goal(Margin(), torch.rand(len(m), 1), torch.zeros(len(m), dtype=torch.int64))
    z = m[:, None].clone().requires_grad_(True)
    losses = goal(z)
    exact = torch.log1p(torch.exp(-m.double()))
    torch.testing.assert_close(losses[:8].double(), exact[:8], rtol=2e-2, atol=0)
    torch.testing.assert_close(losses[4:8].double(), exact[4:8], rtol=1e-4, atol=0)
    assert bool((losses.diff() < 0).all())
    (slope,) = torch.autograd.grad(losses.sum(), z)
    assert bool((slope < 0).all())
