"""Gradient stability: closed forms of small networks, the attack crafted anew, and weights put back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack
from cgro.base.errors import UserError
from cgro.base.randomness import spawn_streams
from cgro.measures.gradients import along_descent, gradient_norm
from cgro.training.objectives import Adversarial, Standard, Trades

STREAM = spawn_streams(0)["evaluation"]


class Linear(nn.Module):
    """Logits (0, w x) of the only pixel x, in float64; without a bias."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1) * self.weight
        return torch.cat([torch.zeros_like(value), value], dim=1)


def pixel(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_a_linear_network_in_closed_form() -> None:
    """Label 1 and pixel 0.5: L = ln(1 + e^(-w x)), g = -x / (1 + e^(w x)), descent raises w."""
    found = along_descent(Linear(0.3), pixel(0.5), torch.tensor([1]), Standard(), None, [0.0, 0.5, 2.0], stream=STREAM)
    gradients = [-0.5 * sigmoid(-0.5 * (0.3 + t)) for t in (0.0, 0.5, 2.0)]
    np.testing.assert_allclose(float(found["norm"]), -gradients[0], rtol=1e-12)
    np.testing.assert_allclose(found["distance"], [g - gradients[0] for g in gradients], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found["cosine"], 1.0, rtol=1e-12)


def test_adversarial_examples_are_crafted_anew() -> None:
    """The worst pixel of label 1 jumps from 0.7 to 0.3 where w becomes positive, and the gradient with it."""
    budget = Attack(Budget("inf", 0.2), 4, 0.6)
    found = along_descent(
        Linear(-0.01), pixel(0.5), torch.tensor([1]), Adversarial(), budget, [0.005, 0.02], stream=STREAM
    )
    before = 0.7 * sigmoid(0.7 * 0.01)
    np.testing.assert_allclose(float(found["norm"]), before, rtol=1e-9)
    expected = [before - 0.7 * sigmoid(0.7 * 0.005), before - 0.3 * sigmoid(-0.3 * 0.01)]
    np.testing.assert_allclose(found["distance"], expected, rtol=1e-9)
    assert expected[1] > 0.19


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 3))


def test_gradients_of_a_network_by_hand() -> None:
    """Along all parameters together, in evaluation mode, from the same starts at every t."""
    model, generator = network(), torch.Generator().manual_seed(1)
    x, y = torch.rand(7, 1, 3, 3, generator=generator), torch.arange(7) % 3
    before = [p.detach().clone() for p in model.parameters()]
    found = along_descent(model, x, y, Standard(), None, [0.0, 0.1], stream=STREAM)
    assert all(torch.equal(p, value) for p, value in zip(model.parameters(), before, strict=True))
    assert model.training
    assert model[3].training
    model.eval()

    def gradient() -> Tensor:
        model.zero_grad()
        cross_entropy(model(x), y).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])  # type: ignore[union-attr]

    here = gradient()
    assert float(gradient_norm(model)) == pytest.approx(float(here.norm()))
    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None
            p -= 0.1 * p.grad / here.norm()
    there = gradient()
    np.testing.assert_allclose(float(found["norm"]), float(here.norm()), rtol=1e-5)
    np.testing.assert_allclose(float(found["distance"][1]), float((there - here).norm()), rtol=1e-3)
    cosine = float(there @ here / (there.norm() * here.norm()))
    np.testing.assert_allclose(float(found["cosine"][1]), cosine, rtol=1e-4)
    assert float(found["distance"][0]) == 0
    attack = Attack(Budget("inf", 0.1), 3, 0.5)
    same = [along_descent(model, x, y, Trades(), attack, [0.0, 0.1], stream=STREAM) for _ in range(2)]
    assert same[0].identical(same[1])
    assert float(same[0]["distance"][0]) == 0


def test_without_a_gradient_there_is_no_direction() -> None:
    model = Linear(0.0)
    found = along_descent(model, pixel(0.0), torch.tensor([1]), Standard(), None, [0.1], stream=STREAM)
    assert float(found["norm"]) == 0
    assert bool(found["distance"].isnull().all() & found["cosine"].isnull().all())
    assert float(model.weight.detach()) == 0
    assert float(gradient_norm(model)) == 0


@pytest.mark.parametrize("distances", [[], [-0.1], [0.1, math.nan]])
def test_distances_that_cannot_be(distances: list[float]) -> None:
    with pytest.raises(UserError, match="distances must be one or more, each at least 0"):
        along_descent(Linear(1.0), pixel(0.5), torch.tensor([1]), Standard(), None, distances, stream=STREAM)
    with torch.inference_mode(), pytest.raises(UserError, match="inference_mode"):
        along_descent(Linear(1.0), pixel(0.5), torch.tensor([1]), Standard(), None, [0.1], stream=STREAM)
