"""APGD and the strong ensemble: closed forms, schedules, targets, and agreement with an independent library."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tools import Threshold, grey, network, own_labels
from torch import nn

from cgro.attacks import ensemble
from cgro.attacks.apgd import apgd_search, checkpoints
from cgro.attacks.ball import Budget, perturbation_size
from cgro.attacks.ensemble import AttackEnsemble
from cgro.attacks.images import Attack, Goal, Judged, correct, pgd_search
from cgro.data.batches import Images

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
    found = AttackEnsemble(Budget(norm, 0.1 * unit)).correct(Threshold(), data, STREAM, batch_size=3)
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
        loss, broken = goal.judge(search(goal, budget, None))
        values.append(loss)
        left = ~broken
    assert left.sum() > 50
    assert float((values[0] - values[1])[left].detach().mean()) > -1e-4


def test_stages_only_lower_the_accuracy() -> None:
    found = AttackEnsemble(Budget("inf", 0.04)).correct(network(), own_labels(), STREAM)
    masks = list(found.values())
    assert masks[0].all()
    for before, after in pairwise(masks):
        assert bool((before | ~after).all())
    assert 0 < int(masks[-1].sum()) < int(masks[1].sum())


def reference(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float, steps: int) -> torch.Tensor:
    """Algorithm 1 of Croce & Hein for one image in l_inf, written down again step by step; the best point."""

    def evaluate(z: torch.Tensor) -> tuple[float, torch.Tensor]:
        z = z.clone().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(z[None]), y[None])
        (gradient,) = torch.autograd.grad(loss, z)
        return float(loss.detach()), gradient

    def projected(z: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(z, x - radius), x + radius).clamp(0, 1)

    eta, z, before = 2 * radius, x, x
    loss, gradient = evaluate(z)
    best, best_loss = z, loss
    losses, best_gradient, changes, checked, last = [loss], gradient, checkpoints(steps), (2 * radius, loss), 0
    for k in range(1, steps + 1):
        y_k = projected(z + eta * gradient.sign())
        new = y_k if k == 1 else projected(z + 0.75 * (y_k - z) + 0.25 * (z - before))
        before, z = z, new
        loss, gradient = evaluate(z)
        losses.append(loss)
        if loss > best_loss:
            best, best_loss, best_gradient = z, loss, gradient
        if k in changes:
            rises = sum(losses[i] > losses[i - 1] for i in range(last + 1, k + 1))
            halve = rises < 0.75 * (k - last) or (checked[0] == eta and checked[1] >= best_loss)
            checked = (eta, best_loss)
            if halve:
                eta, z, before, gradient = eta / 2, best, best, best_gradient
                losses[-1] = best_loss
            last = k
    return best


def test_the_algorithm_against_a_second_encoding() -> None:
    model, data, radius, steps = network(), own_labels(40), 0.01, 25
    x, y = next(data.batches(torch.arange(40), 40))
    goal = Goal(model, x, y)
    found = apgd_search(steps)(goal, Budget("inf", radius), None)
    left = (model(found).argmax(1) == y).nonzero()[:, 0]
    assert len(left) > 15
    for k in left.tolist():
        expected = reference(model, x[k], y[k], radius, steps)
        losses = [float(nn.functional.cross_entropy(model(z[None]), y[k][None]).detach()) for z in (found[k], expected)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-6)
        torch.testing.assert_close(found[k], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", RADII)
def test_no_error_that_was_seen_is_lost(norm, monkeypatch) -> None:
    """Also where steps are reconsidered just after it was found: short searches do so at nearly every step."""
    seen: set[bytes] = set()
    data, budget, inner = own_labels(), Budget(norm, RADII[norm] / 3), Goal.judge
    x, y = next(data.batches(torch.arange(300), 300))

    def spy(self: Goal, z: torch.Tensor) -> Judged:
        judged = inner(self, z)
        # In l_1 the search begins in larger balls.
        found = judged.broken & (perturbation_size(z.detach(), self.x, norm) <= budget.radius * (1 + 1e-5))
        seen.update(row.numpy().tobytes() for row in self.x[found].contiguous())
        return judged

    for shift in range(1, 10):
        seen.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Goal, "judge", spy)
            z = apgd_search(12)(Goal(network(), x, y, "dlr", (y + shift) % 10), budget, None)
        broken = network()(z).argmax(1) != y
        assert seen <= {row.numpy().tobytes() for row in x[broken].contiguous()}


def test_every_class_is_tried_and_the_closest_ones_get_all_steps(monkeypatch) -> None:
    """Pixels are the logits here, and the closest classes are, say, those with the largest (7 k mod 10)."""
    calls: list[list[int]] = []

    def spy(self, search, steps, stream, loss="ce", targets=None):  # type: ignore[no-untyped-def]
        if targets is None:
            return torch.zeros(2)
        calls.append(targets.tolist())
        return (7 * targets % 10).double()

    monkeypatch.setattr("cgro.attacks.ensemble._Left.attack", spy)
    logits = torch.tensor([[9, 1, 2, 3, 4, 5, 6, 7, 8, 0], [0, 9, 8, 7, 6, 5, 4, 3, 2, 1]], dtype=torch.uint8)
    data = Images(logits.reshape(2, 1, 2, 5), torch.tensor([0, 1]), 10)
    AttackEnsemble(Budget("inf", 0.1)).correct(nn.Flatten(), data, STREAM)
    tried, finals = [list(column) for column in zip(*calls, strict=True)], 3
    assert tried[0][:9] == [8, 7, 6, 5, 4, 3, 2, 1, 9]
    assert tried[1][:9] == [2, 3, 4, 5, 6, 7, 8, 9, 0]
    for row, label in zip(tried, (0, 1), strict=True):
        closest = sorted(set(range(10)) - {label}, key=lambda k: -(7 * k % 10))
        assert row[9:] == closest[:finals]


@pytest.mark.parametrize("norm", RADII)
def test_remaining_images_are_attacked_in_full_batches_and_progress_adds_up(norm, monkeypatch) -> None:
    sizes: list[int] = []
    inner = ensemble.attacked

    def spy(goal, *rest):  # type: ignore[no-untyped-def]
        sizes.append(len(goal.y))
        return inner(goal, *rest)

    monkeypatch.setattr(ensemble, "attacked", spy)
    done: list[float] = []
    data = replace(own_labels(), labels=(own_labels().labels + (torch.arange(300) % 5 == 0)) % 10)
    strong = AttackEnsemble(Budget(norm, RADII[norm] / 2), steps=10)
    found = strong.correct(network(), data, STREAM, batch_size=100, tick=done.append)
    assert int(found["clean"].sum()) == 240
    assert sizes[:3] == [100, 100, 40]
    left, after = int(found["pgd"].sum()), sizes[3:]
    assert 0 < left < 240
    assert after[: -(-left // 100)] == [100] * (left // 100) + [left % 100] * (left % 100 > 0)
    assert sum(done) == pytest.approx(300)
    assert min(done) >= 0


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
    strong = AttackEnsemble(budget).correct(Masked(), data, STREAM)["apgd-targeted"]
    assert strong.sum() <= alone.sum()


def test_an_independent_library_finds_no_more_errors() -> None:
    """The library has the first two attacks of AutoAttack, its strongest."""
    library = pytest.importorskip("pyautoattack")
    data, model, left = own_labels(50), network().eval(), {"ours": 0, "theirs": 0}
    x, y, steps = data.scaled(data.pixels), data.labels, 20
    for norm, named, radius in (("1", "L1", 0.4), ("2", "L2", 0.25), ("inf", "Linf", 0.03)):
        budget = Budget(norm, radius)
        peer = library.AutoAttack(
            model, attacks=["apgd-ce", "apgd-t"], version="custom", norm=named, eps=radius, seed=0
        )
        peer.apgd.n_iter = peer.apgd_targeted.n_iter = steps
        # Its own setting for l_1.
        peer.apgd.use_largereps = peer.apgd_targeted.use_largereps = norm == "1"
        z, *_ = peer.run_standard_evaluation(x, y, batch_size=50)
        left["theirs"] += int((model(z).argmax(1) == y).sum())
        left["ours"] += int(AttackEnsemble(budget, steps).correct(model, data, STREAM)["apgd-targeted"].sum())
    assert 33 < left["ours"] < 117
    assert left["ours"] <= left["theirs"]
