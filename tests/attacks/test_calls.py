"""Attacks in the one shape of a call: attack(model, x, y, budget) -> points."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cgro.attacks.ball import Budget, perturbation_size
from cgro.attacks.calls import APGD, PGD, AttackCall, survivors
from cgro.base.errors import UserError
from cgro.data.batches import Images
from cgro.data.images import load_images


@pytest.fixture
def data() -> Images:
    digits = load_images("digits")
    return Images(digits.test_images[:40] / 16, digits.test_labels[:40], 1)


@pytest.fixture
def model() -> nn.Module:
    """Nearest class mean: a linear classifier of digits."""
    digits = load_images("digits")
    means = torch.stack([digits.train_images[digits.train_labels == k].double().mean(0) / 16 for k in range(10)])
    flat = means.flatten(1)
    linear = nn.Linear(64, 10)
    with torch.no_grad():
        linear.weight.copy_(2 * flat)
        linear.bias.copy_(-(flat**2).sum(1))
    return nn.Sequential(nn.Flatten(), linear)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
@pytest.mark.parametrize("attack", [PGD(steps=20), PGD(steps=5, restarts=2, loss="cw"), APGD(steps=20, loss="dlr")])
def test_points_lie_in_the_ball_and_break_images(attack: AttackCall, norm, model: nn.Module, data: Images) -> None:
    budget = Budget(norm, {"1": 3.0, "2": 0.8, "inf": 0.15}[norm])
    (x, y), *_ = data.batches(torch.arange(len(data)), len(data))
    z = attack(model, x, y, budget)
    assert z.shape == x.shape
    assert float(z.min()) >= 0
    assert float(z.max()) <= 1
    assert float(perturbation_size(z, x, norm).max()) <= budget.radius
    clean, attacked = ((model(points).argmax(1) == y).double().mean() for points in (x, z))
    assert attacked < clean - 0.2
    assert torch.equal(attack(model, x, y, budget), z)
    assert torch.equal(survivors(attack, model, data, budget, batch_size=len(data)), model(z).argmax(1) == y)


def test_another_seed_draws_other_starts(model: nn.Module, data: Images) -> None:
    x, y, budget = data.pixels, data.labels, Budget("inf", 0.01)
    first, second = (PGD(steps=1, seed=seed)(model, x, y, budget) for seed in (0, 1))
    assert not torch.equal(first, second)


def test_points_outside_are_moved_into_the_ball(model: nn.Module, data: Images) -> None:
    """An attack cannot win by breaking its rules: whole other images are moved back to the radius."""

    def cheating(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        return x.flip(0)

    whole = survivors(cheating, model, data, Budget("inf", 1.0))
    small = survivors(cheating, model, data, Budget("inf", 1e-6))
    clean = model(data.pixels).argmax(1) == data.labels
    assert whole.double().mean() < 0.3
    assert torch.equal(small, clean)


def test_points_are_judged_in_evaluation_mode_whatever_the_attack_does(model: nn.Module, data: Images) -> None:
    """Dropout that the attack switches on does not count as its success."""
    model.append(nn.Dropout(0.99))
    clean = model.eval()(data.pixels).argmax(1) == data.labels

    def meddling(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        model.train()
        return x

    assert torch.equal(survivors(meddling, model, data, Budget("inf", 0.1)), clean)
    assert not model.training


def test_an_attack_has_gradients_of_the_images_and_none_of_the_weights(model: nn.Module, data: Images) -> None:
    def by_gradient(model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        x = x.clone().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(x), y)
        assert not any(p.requires_grad for p in model.parameters())
        return x + budget.radius * torch.autograd.grad(loss, x)[0].sign()

    with torch.no_grad():
        left = survivors(by_gradient, model, data, Budget("inf", 0.15))
    assert left.double().mean() < 0.7


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: x[:1], r"attack must return one point for each of the images \(40, 1, 8, 8\), got \(1, 1, 8, 8\)"),
        (lambda x: None, "attack must return one point for each of the images .*, got NoneType"),
        (lambda x: torch.full_like(x, torch.nan), "not finite"),
    ],
)
def test_answers_that_are_not_points_are_refused(returned, words: str, model: nn.Module, data: Images) -> None:
    with pytest.raises(UserError, match=words):
        survivors(lambda model, x, y, budget: returned(x), model, data, Budget("inf", 0.1))


@pytest.mark.parametrize("kind", [PGD, APGD])
@pytest.mark.parametrize("wrong", [{"steps": 0}, {"restarts": 0}, {"loss": "mse"}])
def test_invalid_settings_of_an_attack_are_refused(kind, wrong: dict) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        kind(**wrong)
