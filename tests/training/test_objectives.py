"""Objectives of adversarial training: formulas against a second encoding, modes, gradients, and soft targets."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, one_hot

from cgro.attacks.ball import Budget
from cgro.attacks.images import divergence
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.training.config import TrainingConfig
from cgro.training.objectives import OBJECTIVES as BY_NAME
from cgro.training.objectives import Adversarial, AdversarialTrades, Mart, Mixture, Objective, Standard, Trades
from cgro.training.observers import Batch

OBJECTIVES: dict[str, Objective] = {
    "standard": Standard(),
    "adversarial": Adversarial(),
    "mixture": Mixture(0.3),
    "trades": Trades(6.0),
    "trades-adversarial": AdversarialTrades(6.0),
    "mart": Mart(5.0),
}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).double()


def batch(count: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 2, 2, dtype=torch.float64, generator=generator), torch.arange(count) % 4


def attack(loss, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    start = torch.Generator().manual_seed(0)
    return pgd(loss, x, Budget("inf", 0.2), steps=5, step_size=0.1, clamp=(0.0, 1.0), start=start)


def shifted(_loss, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """A fixed perturbation, so that formulas can be written down again."""
    return (x + 0.1).clamp(0, 1)


def losses(objective: Objective, f: nn.Module, x: Tensor, y: Tensor, perturb) -> Tensor:  # type: ignore[no-untyped-def]
    """Losses at the points that `perturb` finds for the objective's ascent."""
    images = Batch(x, y, torch.arange(len(x)))
    found = objective.losses(f, images, perturb(objective.ascent(f, images), x))
    assert isinstance(found, Tensor)
    return found


def test_formulas() -> None:
    f, (x, y) = model(), batch()
    z = shifted(None, x)
    clean, attacked = f(x).softmax(1), f(z).softmax(1)
    rows = torch.arange(len(y))
    divergences = (clean * (clean / attacked).log()).sum(1)
    wrong = attacked.clone()
    wrong[rows, y] = 0
    boosted = -attacked[rows, y].log() - (1 - wrong.max(1).values).log()
    expected = {
        "standard": -clean[rows, y].log(),
        "adversarial": -attacked[rows, y].log(),
        "mixture": -0.7 * clean[rows, y].log() - 0.3 * attacked[rows, y].log(),
        "trades": -clean[rows, y].log() + 6 * divergences,
        "trades-adversarial": -attacked[rows, y].log() + 6 * divergences,
        "mart": boosted + 5 * divergences * (1 - clean[rows, y]),
    }
    for name, objective in OBJECTIVES.items():
        torch.testing.assert_close(losses(objective, f, x, y, shifted), expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["adversarial", "trades"])
def test_the_attack_raises_what_the_objective_says(name: str) -> None:
    f, (x, y) = model(), batch()
    asleep = losses(OBJECTIVES[name], f, x, y, lambda _loss, points: points)
    assert bool((losses(OBJECTIVES[name], f, x, y, attack) >= asleep - 1e-12).all())
    assert losses(OBJECTIVES[name], f, x, y, attack).sum() > asleep.sum() + 1e-3


def test_trades_without_its_boundary_term_is_standard() -> None:
    f, (x, y) = model(), batch()
    torch.testing.assert_close(losses(Trades(0.0), f, x, y, attack), losses(Standard(), f, x, y, attack))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_of_single_samples(name: str) -> None:
    f, (x, y) = model(), batch()
    together = losses(OBJECTIVES[name], f, x, y, shifted)
    alone = torch.cat([losses(OBJECTIVES[name], f, x[i : i + 1], y[i : i + 1], shifted) for i in range(len(y))])
    torch.testing.assert_close(together, alone)
    assert bool((together >= 0).all())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_reach_the_weights_and_are_finite_for_confident_networks(name: str) -> None:
    f, (x, y) = model(), batch()
    with torch.no_grad():
        f[3].weight *= 1e4
    losses(OBJECTIVES[name], f, x, y, attack).mean().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in f.parameters())


@pytest.mark.parametrize("name", ["standard", "adversarial"])
def test_targets_may_be_probabilities(name: str) -> None:
    f, (x, y) = model(), batch()
    soft = one_hot(y, 4).double()
    torch.testing.assert_close(losses(OBJECTIVES[name], f, x, soft, attack), losses(OBJECTIVES[name], f, x, y, attack))
    mixed = 0.5 * soft + 0.125
    torch.testing.assert_close(
        losses(Standard(), f, x, mixed, attack), cross_entropy(f(x), mixed, reduction="none"), rtol=1e-12, atol=0
    )


@given(st.lists(st.floats(-30, 30), min_size=3, max_size=3), st.lists(st.floats(-30, 30), min_size=3, max_size=3))
def test_divergence_is_kullback_leibler(a: list[float], b: list[float]) -> None:
    p, q = (torch.tensor([v], dtype=torch.float64).log_softmax(1) for v in (a, b))
    expected = kl_div(q, p, reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(divergence(p, q), expected, rtol=1e-9, atol=1e-12)
    assert float(divergence(p, q)) >= -1e-12
    assert math.isclose(float(divergence(p, p)), 0, abs_tol=1e-12)


def test_mixtures_end_at_standard_training_and_pgd_at() -> None:
    f, (x, y) = model(), batch()
    for share, end in ((0.0, Standard()), (1.0, Adversarial())):
        torch.testing.assert_close(losses(Mixture(share), f, x, y, attack), losses(end, f, x, y, attack))


def test_names_lead_to_objectives_with_their_weights() -> None:
    for name, weight in (("mixture", 0.5), ("trades", 6.0), ("trades-adversarial", 6.0), ("mart", 5.0)):
        kind = type(OBJECTIVES[name])
        assert type(TrainingConfig(objective=name).recipe.objective) is kind is BY_NAME[name]
        assert TrainingConfig(objective=name).recipe.objective == kind(weight)
        assert TrainingConfig(objective=name, beta=0.7).recipe.objective == kind(0.7)
    assert TrainingConfig(beta=0.7).recipe.objective == Adversarial()
    with pytest.raises(UserError, match=r"beta must be at most 1 with objective mixture, got 1\.5"):
        TrainingConfig(objective="mixture", beta=1.5)
