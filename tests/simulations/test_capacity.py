"""Stacked networks: a stack trains as its members would alone, masks mask, bisection finds the smallest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import softplus

from cgro.attacks.ball import Budget
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.certify.certify import certify
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.measures.scaling import joint_power_law, power_law
from cgro.networks.relu import ReluNetwork
from cgro.simulations import memorization_capacity
from cgro.training import capacity
from cgro.training.capacity import (
    Stack,
    StackedNetworks,
    attacked_accuracy,
    robust_accuracy,
    smallest_widths,
    train_robustly,
)


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


def test_a_point_once_deceived_stays_deceived(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack.of([(np.array([[0.5], [0.9]]), np.array([1, 1]), 0.1)])
    # The first start deceives the first point, the others deceive none.
    moves = iter([-2.0, 0.0, 0.0])
    monkeypatch.setattr(capacity, "_attack", lambda _n, data, *_: data.x + next(moves))

    def threshold(z: torch.Tensor) -> torch.Tensor:
        return (z * 0.1)[..., 0] - 0.45

    assert robust_accuracy(threshold, stack, "inf", generator()).item() == 0.5


def test_attacked_accuracy_is_that_of_the_network_in_input_units() -> None:
    # x_1 > 1/2, and points at distances 0.2, 0.05, 0.05 (on the wrong side) and 0.2.
    threshold = ReluNetwork.of(
        [(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.zeros(2)), (np.array([[1.0, -1.0]]), np.array([-0.5]))]
    )
    points = np.array([[0.7, 0.0], [0.55, 3.0], [0.55, 1.0], [0.3, -2.0]])
    labels = np.array([1, 1, -1, -1])
    for radius, share in ((0.01, 0.75), (0.1, 0.5), (0.19, 0.5), (0.21, 0.0)):
        for norm in ("2", "inf"):
            measured = attacked_accuracy(threshold, points, labels, Budget(norm, radius), generator=generator())
            assert measured == share


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_networks_found_and_certified_are_robust_by_brute_force(norm: str) -> None:
    sizes = ((5, 2), (7, 2), (3, 2))
    data = [(x, y, 0.25 * opposite_separation(LabelledPoints(x, y), norm).distance) for x, y, _ in sets(*sizes)]

    def unbroken(b: int, network: ReluNetwork) -> bool:
        points, labels, radius = data[b]
        result = certify(network, points, labels, norm, radius, tiers=("interval", "linear"))
        budget = Budget(norm, radius)
        broken = result.by_status["counterexample"]
        return not broken and attacked_accuracy(network, points, labels, budget, generator=generator(3)) == 1

    widths, networks = smallest_widths(
        Stack.of(data),
        tuple(range(1, 16)),
        norm=norm,
        restarts=8,
        steps=120,
        descents=1,
        generator=generator(),
        accept=unbroken,
    )
    side = np.linspace(-1, 1, 41)
    ball = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    ball = ball[np.linalg.norm(ball, axis=1) <= 1] if norm == "2" else ball
    proved = 0
    for (points, labels, radius), width, network in zip(data, widths, networks, strict=True):
        assert network is not None
        assert network.widths == (width,)
        assert attacked_accuracy(network, points, labels, Budget(norm, radius), generator=generator()) == 1
        found = certify(network, points, labels, norm, radius, tiers=("interval", "linear"))
        for x, y in zip(points[found.certified], labels[found.certified], strict=True):
            assert (y * network(x + radius * ball) > 0).all()
            proved += 1
    assert proved >= 10


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


def test_descents_find_what_the_bisection_missed_and_refusal_counts_as_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack, trained = Stack.of(sets((4, 2), (4, 2))), []

    def pretend(data: Stack, widths: torch.Tensor, **_options: object) -> tuple[StackedNetworks, torch.Tensor]:
        # Four neurons suffice, but the first training at four fails.
        enough = (widths >= 4) & ((widths != 4) | (len(trained) != 0))
        trained.append(widths.tolist())
        return StackedNetworks(data, widths, 2, generator()), enough.float()

    monkeypatch.setattr(capacity, "train_robustly", pretend)
    options = {"norm": "2", "restarts": 1, "generator": generator()}
    plain, _ = smallest_widths(stack, tuple(range(1, 8)), **options)
    trained.clear()
    deeper, networks = smallest_widths(stack, tuple(range(1, 8)), descents=2, **options)
    assert plain.tolist() == [5, 5]
    assert deeper.tolist() == [4, 4]
    assert [n.widths for n in networks if n] == [(4,), (4,)]
    trained.clear()
    judged, networks = smallest_widths(
        stack, tuple(range(1, 8)), descents=2, accept=lambda b, n: b == 0 or n.widths[0] > 6, **options
    )
    assert judged.tolist() == [4, 7]
    none, networks = smallest_widths(stack, (5, 6), accept=lambda _b, _n: False, **options)
    assert none.tolist() == [-1, -1]
    assert networks == [None, None]


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
        with pytest.raises(ValueError, match="points must be at least 3 at 2 different x"):
            power_law(*bad)


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_linear_labels_have_a_robust_hyperplane(norm: str) -> None:
    for samples, dim in ((2, 1), (5, 8), (9, 3), (20, 16)):
        data = memorization_capacity.draw("linear", samples, dim, norm, 0.6, np.random.SeedSequence(0))
        assert abs(data.labels.sum()) <= 1
        radius = 0.6 * opposite_separation(data, norm).distance / 2
        w = np.ones((1, dim))
        neuron = ReluNetwork.of([(w, np.array([10.0 * dim])), (np.ones((1, 1)), np.array([-10.5 * dim]))])
        assert certify(neuron, data.points, data.labels, norm, radius).certified.all()


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_prototypes_make_clusters_with_labels_in_turn(norm: str) -> None:
    for samples, dim in ((2, 1), (8, 2), (23, 9)):
        data = memorization_capacity.draw("prototypes", samples, dim, norm, 0.5, np.random.SeedSequence(1))
        order = np.inf if norm == "inf" else 2
        separation = opposite_separation(data, norm).distance
        for first in range(min(samples, 4)):
            own = data.points[first::4]
            assert (data.labels[first::4] == (-1) ** first).all()
            assert np.linalg.norm(own - own[0], ord=order, axis=1).max() < 0.35 * separation


def test_a_joint_power_law_is_recovered_with_its_intervals() -> None:
    n, d = (grid.ravel() for grid in np.meshgrid([1.0, 2.0, 8.0], [3.0, 5.0, 30.0]))
    laws = joint_power_law({"n": n, "d": d}, 7 * n**0.5 * d**-2)
    assert [law.exponent for law in laws.values()] == pytest.approx([0.5, -2])
    assert laws["d"].factor == pytest.approx(7)
    # One variable: the same fit as `power_law`.
    rng = np.random.default_rng(0)
    y = n**1.3 * np.exp(0.2 * rng.normal(size=9))
    one, same = joint_power_law({"n": n}, y, 0.9)["n"], power_law(n, y, 0.9)
    assert (one.exponent, one.low, one.high) == pytest.approx((same.exponent, same.low, same.high))
    missed = 0
    for _ in range(400):
        laws = joint_power_law({"n": n, "d": d}, n * d**2 * np.exp(0.3 * rng.normal(size=9)), 0.95)
        missed += not laws["d"].low <= 2 <= laws["d"].high
    assert 5 <= missed <= 40
    for bad in ({"n": n, "m": n**2}, {"n": 0 * n}):
        with pytest.raises(ValueError, match=r"points do not determine|not positive"):
            joint_power_law(bad, y)


def test_power_laws_leave_out_places_with_a_failed_search() -> None:
    x = np.array([2.0, 4, 8, 16, 32])
    parameters = np.stack([3 * x**0.5, 3 * x**0.5])
    parameters[1, 4] = -1  # Beside it lies a small success.
    parameters[0, 4] = 1
    result = xr.Dataset(
        {
            "parameters": (("labels", "seed", "place"), np.stack([parameters, np.full((2, 5), 7.0)])),
            "axis": ("place", ["samples"] * 5),
            "samples": ("place", x),
            "dim": ("place", np.full(5, 3.0)),
        },
        {"labels": ["random", "linear"]},
    )
    laws = memorization_capacity.with_power_laws(result)
    assert laws["exponent"].dims == ("labels", "vary")
    assert float(laws["exponent"].sel(labels="random", vary="samples")) == pytest.approx(0.5)
    flat = laws.sel(labels="linear", vary="samples")
    assert [float(flat[name]) for name in ("exponent", "exponent_low", "exponent_high", "factor")] == [0, 0, 0, 7]
    assert np.isnan(laws["exponent"].sel(vary="dim")).all()


def test_the_experiment_finds_one_neuron_for_linear_labels_and_more_seeds_change_nothing() -> None:
    config = memorization_capacity.Config(
        samples=(6,),
        dims=(3,),
        fixed_samples=4,
        fixed_dim=2,
        labels=("linear", "random"),
        largest_width=3,
        restarts=12,
        descents=1,
        steps=80,
        seeds=1,
        device="cpu",
    )
    first, second = memorization_capacity.run(config), memorization_capacity.run(replace(config, seeds=2))
    for name in ("width", "parameters", "attacked", "certified"):
        assert first[name].equals(second[name].isel(seed=[0]))
    linear = first.sel(labels="linear", seed=0)
    assert (linear["width"] == 1).all()
    assert linear["parameters"].values.tolist() == (linear["dim"] + 3).values.tolist()
    assert (linear["certified"] == 1).all()
    found = first["width"] > 0
    assert (first["attacked"].values[found] == 1).all()
    assert (first["certified"].values[found] <= 1).all()


def test_milp_certifies_what_linear_bounds_leave() -> None:
    config = memorization_capacity.Config(
        samples=(6,), dims=(2,), fixed_samples=6, fixed_dim=2, labels=("random",), restarts=2, seeds=1, device="cpu"
    )
    small = replace(config, largest_width=15, descents=0, steps=150)
    bounds = memorization_capacity.run(small)
    exact = memorization_capacity.run(replace(small, milp_nodes=1000))
    assert (exact["width"] == bounds["width"]).all()
    assert (bounds["certified"] < 1).any()
    assert (exact["certified"] == 1).all()


def test_the_experiment_refuses_invalid_settings() -> None:
    for options, message in (
        ({"ratio": 1.0}, "ratio must be .*got 1"),
        ({"norm": "1"}, "norm must be one of inf, 2, got '1'"),
        ({"labels": ("noisy",)}, "labels must be one of random, linear, prototypes, got 'noisy'"),
        ({"milp_nodes": -1}, "milp_nodes must be a non-negative integer, got -1"),
        ({"descents": -1}, "descents"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
    ):
        with pytest.raises(UserError, match=message):
            memorization_capacity.run(memorization_capacity.Config(**options))  # type: ignore[arg-type]
