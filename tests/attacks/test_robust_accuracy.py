"""Robust accuracy: closed forms, losses against a second encoding, restarts, early exit, targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tools import Threshold, grey, images, network, own_labels
from torch import Tensor

from cgro.attacks.ball import Budget, perturbation_size
from cgro.attacks.images import Attack, Goal, accuracy, correct, evaluation_attack, pgd_search
from cgro.base.errors import UserError

STREAM = np.random.SeedSequence(3)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_robust_accuracy_in_closed_form(norm) -> None:
    """A mean pixel of m is robust within r if |m - 1/2| > r, in units of the norm of a grey image of value 1."""
    data = grey([10, 39, 41, 59, 61, 90, 90], [0, 0, 0, 1, 1, 1, 0])
    unit = {"1": 64.0, "2": 8.0, "inf": 1.0}[norm]
    assert correct(Threshold(), data).tolist() == [True] * 6 + [False]
    for batch_size in (2, 100):
        attack = evaluation_attack(Budget(norm, 0.1 * unit))
        found = correct(Threshold(), data, attack, STREAM, batch_size=batch_size)
        assert found.tolist() == [True, True, False, False, True, True, False]


def test_restarts_can_only_lower_robust_accuracy() -> None:
    """With no steps, a restart is a random guess, and each guess breaks a few more images."""
    data, kept = own_labels(), {}
    for n in (1, 4):
        kept[n] = correct(network(), data, Attack(Budget("inf", 0.3), 0, 1.0, restarts=n), STREAM)
    assert 0 < kept[4].sum() < kept[1].sum() < 300
    assert bool((kept[1] | ~kept[4]).all())


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
@pytest.mark.parametrize("loss", ["ce", "cw", "dlr", "kl"])
def test_searches_stay_in_the_budget_and_in_the_pixel_range(norm, loss) -> None:
    data = own_labels(20)
    x, y = next(data.batches(torch.arange(20), 20))
    budget = Budget(norm, {"1": 5.0, "2": 1.0, "inf": 0.1}[norm])
    attack = replace(evaluation_attack(budget), loss=loss)
    generator = torch.Generator().manual_seed(0)
    z = pgd_search(attack)(Goal(network(), x, y, loss), budget, generator)
    assert perturbation_size(z, x, norm).max() <= budget.radius * (1 + 1e-5)
    assert z.min() >= -1e-6
    assert z.max() <= 1 + 1e-6
    assert not torch.equal(z, x)


@pytest.mark.parametrize("loss", ["ce", "cw", "dlr", "kl"])
def test_an_image_that_is_broken_early_stays_broken(loss) -> None:
    """Leaving broken images early finds at least the errors of the last iterates."""
    data, model, budget = own_labels(), network(), Budget("inf", 0.04)
    attack = replace(evaluation_attack(budget, restarts=1), loss=loss)
    x, y = next(data.batches(torch.arange(300), 300))
    z = attack.ascend(Goal(model, x, y, loss), x, torch.Generator().manual_seed(0))
    last = model(z).argmax(1) == y
    found = correct(model, data, attack, STREAM)
    assert 0 < int(found.sum()) <= int(last.sum()) + 5
    assert int(last.sum()) < 290


def test_one_step_is_weaker_than_many() -> None:
    data, budget = own_labels(), Budget("inf", 0.05)
    fgsm = Attack(budget, 1, 1.0, start=False)
    one, many = correct(network(), data, fgsm), correct(network(), data, evaluation_attack(budget, 20), STREAM)
    assert 0 < many.sum() < one.sum() < 300


def test_clean_errors_are_robust_errors_and_nothing_is_counted_twice() -> None:
    data = replace(own_labels(), labels=(own_labels().labels + torch.arange(300) % 2) % 10)
    done: list[int] = []
    found = correct(network(), data, evaluation_attack(Budget("inf", 1e-6)), STREAM, batch_size=128, tick=done.append)
    assert torch.equal(found, correct(network(), data))
    assert accuracy(found) == 0.5
    assert done == [128, 128, 44]


def test_losses_against_their_formulas() -> None:
    model, data = network(), images(12)
    x = data.scaled(data.pixels)
    y, t = torch.arange(12) % 10, (torch.arange(12) + 3) % 10
    f = model(x).detach().double()
    p, rows = f.softmax(1), torch.arange(12)
    ordered = f.sort(1, descending=True).values
    others = f.clone()
    others[rows, y] = -torch.inf
    expected: dict[tuple[str, bool], Tensor] = {
        ("ce", False): -p[rows, y].log(),
        ("ce", True): p[rows, t].log(),
        ("cw", False): others.max(1).values - f[rows, y],
        ("cw", True): f[rows, t] - f[rows, y],
        ("dlr", False): (others.max(1).values - f[rows, y]) / (ordered[:, 0] - ordered[:, 2]),
        ("dlr", True): (f[rows, t] - f[rows, y]) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2),
    }
    for (loss, targeted), values in expected.items():
        goal = Goal(model, x, y, loss, t if targeted else None)  # type: ignore[arg-type]
        torch.testing.assert_close(goal(x).double(), values, rtol=1e-4, atol=1e-5)
        assert torch.equal(goal.judge(x).broken, f.argmax(1) != y)
        part = goal.select(torch.tensor([1, 4]))
        torch.testing.assert_close(part(x[[1, 4]]).double(), values[[1, 4]], rtol=1e-4, atol=1e-5)
    z = (x + 0.1).clamp(0, 1)
    q = model(z).detach().double().softmax(1)
    kl = (p * (p / q).log()).sum(1)
    torch.testing.assert_close(Goal(model, x, y, "kl")(z).double(), kl, rtol=1e-3, atol=1e-6)


def test_attacks_refuse_invalid_settings() -> None:
    with pytest.raises(UserError, match=r"loss must be .*got 'hinge'"):
        Attack(Budget("inf", 0.1), 3, 1.0, loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="steps must be a non-negative integer, got -1"):
        Attack(Budget("inf", 0.1), -1, 1.0)
    with pytest.raises(UserError, match="loss must be cw for fewer than 3 classes, got dlr with 2"):
        Goal(Threshold(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), "dlr")(torch.rand(2, 1, 8, 8))
