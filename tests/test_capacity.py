"""Stacked networks: a stack trains as its members would alone, masks mask, bisection finds the smallest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from cgro.attacks.pgd import Budget, pgd
from cgro.certify.certify import certify
from cgro.experiment import UserError
from cgro.measures.scaling import power_law
from cgro.training import capacity
from cgro.training.capacity import Stack, StackedNetworks, robust_accuracy, smallest_widths, train_robustly
from simulations import memorization_capacity


def sets(*sizes: tuple[int, int], radius: float = 0.02) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Uniform points with labels in turn."""
    rng = np.random.default_rng(0)
    return [(rng.random((n, d)), np.where(np.arange(n) % 2, 1, -1), radius) for n, d in sizes]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_member_is_the_network_that_it_exports(depth: int) -> None:
    data = sets((6, 3), (4, 5), (3, 2))
    stack = Stack.of(data)
    networks = StackedNetworks(stack, torch.tensor([4, 7, 2]), depth, generator())
    out = networks(stack.x).detach()
    for b, (points, *_) in enumerate(data):
        network = networks.network(b)
        assert network.widths == (int([4, 7, 2][b]),) * (depth - 1)
        assert network.inputs == points.shape[1]
        np.testing.assert_allclose(network(points)[:, 0], out[b, : len(points)], rtol=2e-4, atol=2e-5)


def test_masked_neurons_and_padded_coordinates_have_no_influence() -> None:
    stack = Stack.of(sets((6, 3), (4, 5)))
    networks = StackedNetworks(stack, torch.tensor([2, 6]), 3, generator())
    before = networks(stack.x).detach()
    with torch.no_grad():
        networks.weights[0][0, 2:] += 5
        networks.biases[0][0, :, 2:] += 5
        networks.weights[1][0, 2:] += 5
        networks.weights[0][0, :, 3:] += 5
        networks.weights[2][0, :, 2:] += 5
    assert torch.equal(networks(stack.x).detach(), before)
    with torch.no_grad():
        networks.weights[0][0, 1, 1] += 5
    assert not torch.equal(networks(stack.x)[0].detach(), before[0])
    assert torch.equal(networks(stack.x)[1].detach(), before[1])


def test_training_a_stack_is_training_each_alone() -> None:
    """Against a plain loop: one module, its own optimizer, no padding, no mask."""
    data = sets((5, 2), (8, 4))
    stack, widths, steps = Stack.of(data), torch.tensor([3, 5]), 30
    start = StackedNetworks(stack, widths, 2, generator(7))
    trained, _ = train_robustly(stack, widths, norm="2", steps=steps, generator=generator(7))
    for b, (points, labels, radius) in enumerate(data):
        m, d = int(widths[b]), points.shape[1]
        weights = [
            start.weights[0][b, :m, :d],
            start.biases[0][b, 0, :m],
            start.weights[1][b, 0, :m],
            start.biases[1][b, 0],
        ]
        alone = [w.detach().clone().requires_grad_(True) for w in weights]
        x, y = torch.tensor(points / radius).float(), torch.tensor(labels).float()

        def f(z: torch.Tensor, alone: list = alone, radius: float = radius) -> torch.Tensor:
            hidden = ((z * radius - 0.5) * 3 @ alone[0].T + alone[1]).relu()
            return hidden @ alone[2] + alone[3]

        optimizer = torch.optim.Adam(alone, lr=0.03)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            z = pgd(lambda z, y=y: -y * f(z), x, Budget("2", 1.0), steps=4, step_size=1.0, decay=True)
            loss = softplus(-y * f(z)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        np.testing.assert_allclose(trained.weights[0][b, :m, :d].detach(), alone[0].detach(), rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(trained.weights[1][b, 0, :m].detach(), alone[2].detach(), rtol=2e-3, atol=2e-3)


def test_robust_accuracy_counts_points_that_no_attack_moves() -> None:
    points = np.array([[0.5], [0.9], [0.1], [0.52]])
    stack = Stack.of([(points, np.array([1, 1, -1, -1]), 0.1)])

    def threshold(z: torch.Tensor) -> torch.Tensor:
        return (z * 0.1)[..., 0] - 0.45

    # 0.5 can be moved below 0.45, 0.52 is wrong as it is.
    assert robust_accuracy(threshold, stack, "inf", generator()).item() == 0.5


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_what_is_found_is_robust(norm: str) -> None:
    data = sets((6, 2), (8, 6))
    widths, networks = smallest_widths(
        Stack.of(data), (1, 2, 3, 4, 6, 8, 12, 16), norm=norm, restarts=3, steps=300, generator=generator()
    )
    for (points, labels, radius), width, network in zip(data, widths, networks, strict=True):
        assert network is not None
        assert network.widths == (width,)
        found = certify(network, points, labels, norm, radius)
        assert found.by_status["counterexample"] == 0


def test_bisection_finds_the_smallest_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    ladder = tuple(range(1, 12))
    needs = np.array([1, 2, 7, 11, 99])
    stack = Stack.of(sets(*[(4, 2)] * 5))

    def pretend(data: Stack, widths: torch.Tensor, **_options: object) -> tuple[StackedNetworks, torch.Tensor]:
        enough = widths.numpy() >= np.repeat(needs, 2)
        # Only the second restart ever succeeds.
        enough &= np.arange(10) % 2 == 1
        return StackedNetworks(data, widths, 2, generator()), torch.tensor(np.where(enough, 1.0, 0.5))

    monkeypatch.setattr(capacity, "train_robustly", pretend)
    calls = []
    widths, networks = smallest_widths(
        stack, ladder, norm="2", restarts=2, generator=generator(), after_round=lambda: calls.append(1)
    )
    assert widths.tolist() == [1, 2, 7, 11, -1]
    assert [n.widths[0] if n else None for n in networks] == [1, 2, 7, 11, None]
    assert len(calls) == capacity.rounds(ladder) == 4


def test_a_power_law_is_recovered_with_its_interval() -> None:
    x = np.array([1, 2, 4, 8, 16.0])
    law = power_law(x, 3 * x**1.5)
    assert law.exponent == pytest.approx(1.5)
    assert law.factor == pytest.approx(3)
    assert law.high - law.low < 1e-6
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        law = power_law(x, x**0.7 * np.exp(0.3 * rng.normal(size=5)))
        inside += law.low <= 0.7 <= law.high
    assert 0.91 < inside / 400 < 0.985
    for bad in ((x[:2], x[:2]), (np.ones(4), np.ones(4)), (x, -x)):
        with pytest.raises(ValueError, match="need 3 and 2"):
            power_law(*bad)


def test_structured_labels_are_separable_with_margin() -> None:
    for samples, dim in ((2, 1), (9, 3), (20, 8)):
        data = memorization_capacity.draw("structured", samples, dim, np.random.SeedSequence(0))
        side = data.points @ np.ones(dim) / np.sqrt(dim)
        assert side[data.labels == 1].min() - side[data.labels == -1].max() >= 0.2 - 1e-9


def test_the_experiment_is_the_same_twice_and_refuses_nonsense() -> None:
    config = memorization_capacity.Config(
        samples=(4,), dims=(2, 3), fixed_samples=4, fixed_dim=2, largest_width=7, restarts=1, steps=100, seeds=1
    )
    first, second = memorization_capacity.run(config), memorization_capacity.run(config)
    assert first.equals(second)
    assert (first["width"] != 0).all()
    for options, message in (
        ({"ratio": 1.0}, "ratio is 1: allowed are"),
        ({"norm": "1"}, "the attack knows 'inf' and '2'"),
        ({"labels": ("noisy",)}, "labels are 'noisy'"),
    ):
        with pytest.raises(UserError, match=message):
            memorization_capacity.Config(**options)  # type: ignore[arg-type]
