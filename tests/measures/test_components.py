"""Components of the margin: closed forms, and in the patch model exactly the quantities of the theory."""

from __future__ import annotations

import pytest
import torch
from tools import Threshold, grey
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack
from cgro.measures.components import margins, margins_and_losses


def test_margins_and_losses_in_closed_form() -> None:
    """Means 0.3 and 0.1 from the threshold, radius 0.2: margins 2 (0.3 -+ 0.2) and 2 (0.1 -+ 0.2)."""
    data = grey([20, 60], [0, 1])
    attack = Attack(Budget("inf", 0.2), 5, 1.0)
    found = margins_and_losses(Threshold(), data, attack, torch.Generator().manual_seed(0), batch_size=1)
    assert found["clean_margin"] == pytest.approx((0.6 + 0.2) / 2, abs=1e-5)
    assert found["attacked_margin"] == pytest.approx((0.2 - 0.2) / 2, abs=1e-5)

    def loss(*values: float) -> float:
        return float(torch.log1p(torch.exp(-torch.tensor(values))).mean())

    assert found["clean_loss"] == pytest.approx(loss(0.6, 0.2), abs=1e-5)
    assert found["attacked_loss"] == pytest.approx(loss(0.2, -0.2), abs=1e-5)


def test_margin_is_positive_where_the_label_wins() -> None:
    logits, y = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 4
    assert torch.equal(margins(logits, y) > 0, logits.argmax(1) == y)


class Patch(nn.Module):
    """f = s^3 U + <v, noise>^3 for a signal patch of strength s along one direction, as two logits +-f/2."""

    def __init__(self, U: float, v: Tensor) -> None:
        super().__init__()
        self.U, self.v = U, v

    def forward(self, x: Tensor) -> Tensor:
        f = self.U * x[:, 0] ** 3 + ((x[:, 1:] * self.v).sum(1)) ** 3
        return torch.stack([-f / 2, f / 2], 1)


def test_components_in_the_patch_model() -> None:
    """Held-out margins have mean alpha^3 U, attacked ones (alpha - delta)^3 U; training margins exceed them by V_i.

    Weights v aligned with the noise xi_i of a training sample give V_i = y_i <v, xi_i>^3; for fresh noise <v, xi>^3
    has mean 0. Six standard errors of 20,000 fresh samples.
    """
    g = torch.Generator().manual_seed(0)
    alpha, delta, U, d, N = 1.2, 0.8, 2.0, 40, 10
    y = torch.randint(0, 2, (N,), generator=g) * 2 - 1
    noise = torch.randn(N, d, generator=g) / d**0.5
    v = (y[:, None] * noise).sum(0)
    model = Patch(U, v)

    def sample(noise: Tensor, y: Tensor, strength: float) -> Tensor:
        return torch.cat([strength * y[:, None], noise], 1)

    def mean(noise: Tensor, y: Tensor, strength: float) -> float:
        return float(margins(model(sample(noise, y, strength)), (y > 0).long()).double().mean())

    fresh_y = torch.randint(0, 2, (20_000,), generator=g) * 2 - 1
    fresh = torch.randn(20_000, d, generator=g) / d**0.5
    spread = float(((fresh * v).sum(1) ** 3).std()) / 20_000**0.5
    signal, stalled = mean(fresh, fresh_y, alpha), mean(fresh, fresh_y, alpha - delta)
    assert signal == pytest.approx(alpha**3 * U, abs=6 * spread)
    assert stalled == pytest.approx((alpha - delta) ** 3 * U, abs=6 * spread)
    memorized = float((y * (noise * v).sum(1) ** 3).mean())
    assert mean(noise, y, alpha - delta) - stalled == pytest.approx(memorized, abs=6 * spread)
    assert memorized > 1
