"""APGD and the strong ensemble: closed forms, schedules, targets, and agreement with an independent library."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from test_robust_accuracy import network, own_labels
from test_training import Threshold, grey
from torch import nn

from cgro.attacks.apgd import apgd_search, checkpoints
from cgro.attacks.ball import Budget, perturbation_size
from cgro.attacks.ensemble import Strong
from cgro.attacks.images import Attack, Goal, correct, pgd_search

STREAM = np.random.SeedSequence(5)
RADII = {"1": 4.0, "2": 0.6, "inf": 0.06}


def test_checkpoints_of_the_paper() -> None:
    """p_1 = 0.22 and p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), as whole steps of 100."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert all(1 <= k <= 5 for k in checkpoints(5))
    assert checkpoints(1) in ([], [1])
    assert checkpoints(100, l1=True)[:3] == [4, 8, 12]


@pytest.mark.parametrize("norm", RADII)
def test_points_are_in_the_budget_and_in_the_box(norm) -> None:
    data = own_labels(30)
    x, y = next(data.batches(torch.arange(30), 30))
    budget = Budget(norm, RADII[norm])
    for steps in (1, 3, 30):
        z = apgd_search(steps)(Goal(network(), x, y), budget, torch.Generator().manual_seed(0))
        assert perturbation_size(z, x, norm).max() <= budget.radius * (1 + 1e-5)
        assert z.min() >= -1e-6
        assert z.max() <= 1 + 1e-6


@pytest.mark.parametrize("norm", RADII)
def test_robust_accuracy_in_closed_form(norm) -> None:
    unit = {"1": 64.0, "2": 8.0, "inf": 1.0}[norm]
    data = grey([10, 39, 41, 59, 61, 90, 90], [0, 0, 0, 1, 1, 1, 0])
    found = Strong(Budget(norm, 0.1 * unit)).correct(Threshold(), data, STREAM, batch_size=3)
    assert list(found) == ["clean", "pgd", "apgd-ce", "apgd-targeted"]
    assert found["clean"].tolist() == [True] * 6 + [False]
    assert found["apgd-targeted"].tolist() == [True, True, False, False, True, True, False]


@pytest.mark.parametrize("norm", RADII)
def test_apgd_reaches_larger_losses_than_pgd_of_as_many_steps(norm) -> None:
    """On images that neither breaks, where both report the best, or last, point of all their steps."""
    data, budget = own_labels(200), Budget(norm, RADII[norm] / 4)
    x, y = next(data.batches(torch.arange(200), 200))
    plain = Attack(budget, 40, relative_step=2.5 / 40)
    values = []
    for search in (apgd_search(40), pgd_search(plain)):
        goal = Goal(network(), x, y)
        values.append(goal(search(goal, budget, None)))
        left = ~goal.broken
    assert left.sum() > 50
    assert float((values[0] - values[1])[left].mean()) > -1e-4


def test_stages_only_lower_the_accuracy() -> None:
    found = Strong(Budget("inf", 0.04)).correct(network(), own_labels(), STREAM)
    masks = list(found.values())
    assert masks[0].all()
    for before, after in pairwise(masks):
        assert bool((before | ~after).all())
    assert 0 < int(masks[-1].sum()) < int(masks[1].sum())


class Masked(nn.Module):
    """Zero gradients of the likeliest class: untargeted cross-entropy sees nothing, margins of targets do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.inner(x)
        top = logits.argmax(1, keepdim=True)
        return logits.scatter(1, top, logits.gather(1, top).detach() + 0.0)


def test_the_ensemble_is_at_least_as_strong_as_its_parts() -> None:
    data, budget = own_labels(), Budget("inf", 0.04)
    alone = correct(Masked(), data, Attack(budget, 20, 2.5 / 20), STREAM)
    strong = Strong(budget).correct(Masked(), data, STREAM)["apgd-targeted"]
    assert strong.sum() <= alone.sum()


def test_an_independent_library_finds_no_more_errors() -> None:
    """Within 0.3 points of the first two attacks of AutoAttack, its strongest, as `pyautoattack` has them."""
    library = pytest.importorskip("pyautoattack")
    data, model, left = own_labels(150), network().eval(), {"ours": 0, "theirs": 0}
    x, y = data.scaled(data.pixels), data.labels
    for norm, named, radius in (("1", "L1", 0.4), ("2", "L2", 0.25), ("inf", "Linf", 0.03)):
        budget = Budget(norm, radius)
        peer = library.AutoAttack(
            model, attacks=["apgd-ce", "apgd-t"], version="custom", norm=named, eps=radius, seed=0
        )
        # Its own setting for l_1.
        peer.apgd.use_largereps = peer.apgd_targeted.use_largereps = norm == "1"
        z, *_ = peer.run_standard_evaluation(x, y, batch_size=150)
        left["theirs"] += int((model(z).argmax(1) == y).sum())
        left["ours"] += int(Strong(budget).correct(model, data, STREAM)["apgd-targeted"].sum())
    assert 100 < left["ours"] < 350
    assert left["ours"] <= left["theirs"] + 0.003 * 450
