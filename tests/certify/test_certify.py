"""Certificates: verdicts against brute force over activation regions, bounds that enclose, witnesses that are real."""

from __future__ import annotations

import itertools
import math
import re
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_certify_bounds import NORMS, exact_layers, exact_rows, random_problem
from tools import random_network

from cgro.base.errors import UserError
from cgro.certify import certify as module
from cgro.certify import milp
from cgro.certify.attack import margin_and_gradient, search, verified
from cgro.certify.ball import contains
from cgro.certify.certify import Certificate, certify
from cgro.certify.exact import exact_margin, exact_outputs, rounded_up
from cgro.certify.linear import linear_bounds
from cgro.certify.milp import MilpResult, minimize_row
from cgro.certify.problem import Problem
from cgro.data.separated import random_points
from cgro.data.separation import opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.networks.readout import margins
from cgro.networks.relu import ReluNetwork

CORNERS = {"inf": [(-1, -1), (1, -1), (1, 1), (-1, 1)], "1": [(0, -1), (1, 0), (0, 1), (-1, 0)]}


def split(polygon: np.ndarray, normal: np.ndarray, offset: float) -> list[np.ndarray]:
    """The parts of a convex polygon on either side of a line, non-empty ones."""
    side = polygon @ normal + offset
    parts = []
    for sign in (1, -1):
        kept = []
        for k in range(len(polygon)):
            a, b, p, q = sign * side[k], sign * side[k - 1], polygon[k], polygon[k - 1]
            if a * b < 0:
                kept.append(p + (q - p) * a / (a - b))
            if a >= 0:
                kept.append(p)
        if len(kept) >= 3:
            parts.append(np.array(kept))
    return parts


def smallest(network: ReluNetwork, row: np.ndarray, offset: float, x: np.ndarray, norm: str, radius: float) -> float:
    """The minimum of row @ f + offset over a ball of the plane, by visiting every activation region in it."""
    corners = np.array(CORNERS.get(norm, CORNERS["inf"]), dtype=float)
    regions = [(x + radius * corners, np.eye(2), np.zeros(2))]
    for weight, bias in network.layers[:-1]:
        new = []
        for polygon, A, c in regions:
            A, c = weight @ A, weight @ c + bias
            parts = [polygon]
            for j in range(len(c)):
                parts = [part for p in parts for part in split(p, A[j], c[j])]
            for part in parts:
                active = (A @ part.mean(axis=0) + c > 0)[:, None]
                new.append((part, np.where(active, A, 0), np.where(active[:, 0], c, 0)))
        regions = new
    weight, bias = network.layers[-1]
    least = math.inf
    for polygon, A, c in regions:
        slope, constant = row @ weight @ A, row @ (weight @ c + bias) + offset
        places = polygon if norm != "2" else _of_disc(polygon, slope, x, radius)
        least = min([least, *(places @ slope + constant)])
    return least


def _of_disc(polygon: np.ndarray, slope: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Where a linear function can be smallest on polygon and disc: corners, crossings, its minimum on the disc."""
    places = [p for p in polygon if np.linalg.norm(p - x) <= radius]
    for k in range(len(polygon)):
        start, step = polygon[k - 1] - x, polygon[k] - polygon[k - 1]
        a, b, c = step @ step, 2 * start @ step, start @ start - radius**2
        if a > 0 and b * b >= 4 * a * c:
            roots = (-b + np.array([-1, 1]) * math.sqrt(b * b - 4 * a * c)) / (2 * a)
            places += [x + start + t * step for t in roots if 0 <= t <= 1]
    end = x - radius * slope / max(np.linalg.norm(slope), 1e-300)
    sides, ways = polygon - np.roll(polygon, 1, axis=0), end - np.roll(polygon, 1, axis=0)
    turn = sides[:, 0] * ways[:, 1] - sides[:, 1] * ways[:, 0]
    if turn.min() >= 0 or turn.max() <= 0:
        places.append(end)
    return np.array(places).reshape(-1, 2)


def plane_problem(seed: int, readout: str) -> tuple[ReluNetwork, np.ndarray, np.ndarray]:
    """A network of the plane and points with the labels that it gives them."""
    rng = np.random.default_rng(seed)
    widths = rng.integers(2, 7, size=rng.integers(1, 4)).tolist()
    network = random_network(rng, widths, 2, 3 if readout == "argmax" else 1)
    points = rng.standard_normal((3, 2))
    out = network(points)
    if readout == "argmax":
        return network, points, out.argmax(axis=1)
    return network, points, (np.sign(out[:, 0]) if readout == "sign" else np.round(out[:, 0])).astype(int)


@settings(max_examples=60)
@example(seed=38, norm="1", radius=1.0, readout="argmax", exact=True)  # HiGHS once failed on this one.
@given(
    seed=st.integers(0, 2**32),
    norm=st.sampled_from(NORMS),
    radius=st.sampled_from([0.05, 0.3, 1.0]),
    readout=st.sampled_from(["sign", "label", "argmax"]),
    exact=st.booleans(),
)
def test_verdicts_and_bounds_agree_with_every_region_of_the_plane(seed, norm, radius, readout, exact) -> None:
    network, points, labels = plane_problem(seed, readout)
    if readout == "sign" and (labels == 0).any():
        return
    found = certify(network, points, labels, norm, radius, readout=readout, exact=exact)
    problem = Problem.of(network, points, labels, norm, radius, readout)
    for i, x in enumerate(points):
        rows = zip(problem.rows[i], problem.offsets[i], strict=True)
        truth = min(smallest(network, row, float(offset), x, norm, radius) for row, offset in rows)
        assert found.lower[i] <= truth + 1e-9
        assert found.upper[i] >= truth - 1e-9
        if abs(truth) > 1e-3:
            assert found.status[i] == ("certified" if truth > 0 else "counterexample")
        if exact and truth > 1e-3:
            assert found.gap[i] < (0.02 if norm == "2" else 1e-3) * max(1, truth)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), scales=st.sampled_from([(1.0,), (1e8, 1e-8), (1e-150, 1.0)]))
def test_exact_values_are_those_of_rational_arithmetic(seed, scales) -> None:
    problem = random_problem(seed, "2", scales)
    for i, x in enumerate(problem.points):
        outputs = exact_layers(problem.network, x)[-1]
        assert exact_outputs(problem.network, x) == outputs
        least = exact_margin(problem.network, x, problem.rows[i], problem.offsets[i])
        assert least == min(exact_rows(problem, i, outputs))
        assert Fraction(rounded_up(least)) >= least
        assert Fraction(float(np.nextafter(rounded_up(least), -np.inf))) < least
    assert rounded_up(Fraction(10) ** 400) == math.inf
    assert rounded_up(-(Fraction(10) ** 400)) < -1e308


def require_witnesses(found: Certificate, problem: Problem) -> None:
    """Every counterexample lies in the ball and has a margin <= 0, in exact arithmetic; nothing else has a witness."""
    for i, status in enumerate(found.status):
        if status != "counterexample":
            assert np.isnan(found.witness[i]).all()
            continue
        z = found.witness[i]
        differences = [abs(Fraction(float(b)) - Fraction(float(a))) for a, b in zip(problem.points[i], z, strict=True)]
        radius = Fraction(problem.radius)
        assert {"1": sum(differences), "inf": max(differences)}.get(problem.norm, 0) <= radius
        assert problem.norm != "2" or sum(d * d for d in differences) <= radius**2
        exact = min(exact_rows(problem, i, exact_layers(problem.network, z)[-1]))
        assert exact <= found.upper[i] <= 0


@pytest.mark.parametrize("readout", ["sign", "label", "argmax"])
@pytest.mark.parametrize("norm", NORMS)
def test_witnesses_are_real(norm, readout) -> None:
    statuses = set()
    for seed in range(12):
        network, points, labels = plane_problem(seed, readout)
        found = certify(network, points, labels, norm, 0.7, readout=readout)
        require_witnesses(found, Problem.of(network, points, labels, norm, 0.7, readout))
        statuses |= {*found.status}
    assert statuses == {"certified", "counterexample"}


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), norm=st.sampled_from(NORMS), radius=st.sampled_from([0.03, 0.1, 0.3]))
def test_no_attack_goes_below_what_is_certified(seed, norm, radius) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, (10, 10), 5)
    x = rng.standard_normal((4, 5))
    problem = Problem.of(network, x, np.where(network(x)[:, 0] > 0, 1, -1), norm, radius, "sign")
    found = certify(network, x, problem.rows[:, 0, 0].astype(int), norm, radius)
    assert (found.status != "undecided").all()
    _, upper = verified(problem, search(problem, rng, x, steps=60, restarts=10))
    assert (upper >= found.lower).all()


def test_a_wrongly_labelled_centre_is_its_own_counterexample() -> None:
    network = ReluNetwork.of([(np.eye(2), np.zeros(2)), (np.ones((1, 2)), [1.0])])
    found = certify(network, np.zeros((1, 2)), np.array([-1]), "2", 0.1)
    assert found.status.tolist() == ["counterexample"]
    assert found.tier.tolist() == ["attack"]
    np.testing.assert_array_equal(found.witness, [[0, 0]])
    assert found.upper == pytest.approx(-1.0)


def test_margin_zero_on_the_boundary_is_a_counterexample() -> None:
    """Balls are closed, and a margin of 0 reads no label."""
    network = ReluNetwork.of([(np.array([[1.0], [-1.0]]), np.zeros(2)), (np.array([[-1.0, -1.0]]), [1.0])])
    hit, miss = (certify(network, np.zeros((1, 1)), np.array([1]), "inf", r) for r in (1.0, 1 - 1e-3))
    assert hit.status.tolist() == ["counterexample"]
    assert miss.status.tolist() == ["certified"]


@pytest.mark.parametrize("norm", NORMS)
def test_radius_zero_asks_about_the_points(norm) -> None:
    network = random_network(np.random.default_rng(0), (8,), 3)
    x = np.random.default_rng(1).standard_normal((5, 3))
    labels = np.where(network(x)[:, 0] > 0, 1, -1)
    found = certify(network, x, labels, norm, 0.0)
    assert found.certified.all()
    np.testing.assert_allclose(found.lower, margins("sign", network(x), labels), rtol=1e-12)
    assert (certify(network, x, -labels, norm, 0.0).status == "counterexample").all()


def hard_problem(norm: str) -> tuple[ReluNetwork, np.ndarray, np.ndarray, float]:
    """One point that intervals and lines leave open although it is robust: its smallest margin is 0.05."""
    rng = np.random.default_rng(7)
    network, x, radius = random_network(rng, (12, 12), 2), np.zeros((1, 2)), 1.0
    least = smallest(network, np.ones(1), 0.0, x[0], norm, radius)
    last = (network.weights[-1], network.biases[-1] - least + 0.05)
    return ReluNetwork.of([*network.layers[:-1], last]), x, np.array([1]), radius


@pytest.mark.parametrize("tiers", [("interval", "linear"), ("interval", "linear", "milp")])
@pytest.mark.parametrize("norm", NORMS)
def test_milp_decides_what_bounds_leave_open(norm, tiers) -> None:
    network, x, y, radius = hard_problem(norm)
    found = certify(network, x, y, norm, radius, tiers=tiers)
    assert found.status.tolist() == ["certified" if "milp" in tiers else "undecided"]
    assert found.lower[0] <= 0.05 <= found.upper[0]
    assert found.gap[0] > 0


@pytest.mark.parametrize("norm", NORMS)
def test_exact_minimum_of_the_milp(norm) -> None:
    network, x, y, radius = hard_problem(norm)
    found = certify(network, x, y, norm, radius, exact=True)
    assert found.certified.all()
    assert found.lower[0] == pytest.approx(0.05, abs=5e-3 if norm == "2" else 1e-4)
    assert found.upper[0] == pytest.approx(0.05, abs=5e-3 if norm == "2" else 1e-4)
    assert found.lower[0] <= found.upper[0]


def test_rows_of_the_milp_without_binaries_are_bounded_by_the_linear_program() -> None:
    network = ReluNetwork.of([(np.eye(2), [5.0, 5.0]), (np.ones((1, 2)), [-9.0])])
    problem = Problem.of(network, np.zeros((1, 2)), np.array([1]), "1", 1.5, "sign")
    answer = minimize_row(problem, 0, linear_bounds(problem).hidden, nodes=1000, exact=True)
    assert answer.finished
    assert answer.lower == pytest.approx(-0.5, abs=1e-3)
    assert answer.lower <= -0.5
    problem = Problem.of(ReluNetwork.of([(np.ones((1, 2)), [1.0])]), np.zeros((1, 2)), np.array([1]), "1", 1.5, "sign")
    assert minimize_row(problem, 0, [], nodes=1000).lower == pytest.approx(-0.5, abs=1e-3)


def test_the_solvers_failure_and_its_limit_leave_points_undecided(monkeypatch) -> None:
    network, x, y, radius = hard_problem("inf")
    monkeypatch.setattr(module, "minimize_row", lambda *_a, **_k: MilpResult(-np.inf, None, False))
    found = certify(network, x, y, "inf", radius)
    assert found.status.tolist() == ["undecided"]
    assert found.tier.tolist() == ["linear"]
    assert found.by_tier == {}
    assert np.isfinite(found.gap).all()


def branching_problem() -> tuple[ReluNetwork, np.ndarray, np.ndarray, float]:
    """A robust memorizer whose first two points need between 100 and 1000 nodes each."""
    data = random_points(10, 2, seed=np.random.SeedSequence(0, spawn_key=(10, 2)))
    radius = 0.99 * opposite_separation(data, "2").distance / 2
    network = memorize(data, None, "2", radius, construction="ball_sum").float_network
    return network, data.points[:2], data.labels[:2], radius


def test_the_solver_is_limited_by_nodes_and_never_by_time(monkeypatch) -> None:
    network, x, y, radius = branching_problem()
    asked = []
    real = milp.milp
    monkeypatch.setattr(milp, "milp", lambda *a, **k: asked.append(dict(k["options"])) or real(*a, **k))
    assert certify(network, x, y, "2", radius).certified.all()
    assert asked
    for options in asked:
        assert "time_limit" not in options
        assert 1 <= options["node_limit"] <= 10_000


def test_a_verdict_does_not_depend_on_how_long_it_takes(monkeypatch) -> None:
    """A slow machine, whose clock runs ahead by an hour with every look at it, decides as an idle one does."""
    network, x, y, radius = branching_problem()
    x, y = x[:1], y[:1]
    idle = [certify(network, x, y, "2", radius, nodes=nodes) for nodes in (1, 1000)]
    statuses = [found.status.tolist() for found in idle]
    assert statuses[0] == ["undecided"]
    assert statuses[1] == ["certified"]
    clock = itertools.count(step=3600)
    real = milp.milp
    monkeypatch.setattr(milp, "milp", lambda *a, **k: time.sleep(0.02) or real(*a, **k))
    for name in ("monotonic", "perf_counter", "time"):
        monkeypatch.setattr(time, name, lambda: float(next(clock)))
    for nodes, before in zip((1, 1000), idle, strict=True):
        busy = certify(network, x, y, "2", radius, nodes=nodes)
        for part in ("status", "lower", "upper", "tier", "witness"):
            np.testing.assert_array_equal(getattr(busy, part), getattr(before, part))


def test_what_the_solver_proved_within_its_nodes_counts() -> None:
    """Nodes that do not suffice still give a bound, which rises with them, and they are all counted."""
    network, x, y, radius = branching_problem()
    problem = Problem.of(network, x, y, "2", radius, "sign").take(np.array([0]))
    hidden = linear_bounds(problem).hidden
    few, more, enough = (minimize_row(problem, 0, hidden, nodes=nodes) for nodes in (2, 50, 10_000))
    assert not few.finished
    assert few.nodes == 2
    assert -np.inf < few.lower <= more.lower < 0 < enough.lower
    assert enough.finished
    assert 50 < enough.nodes < 10_000
    assert few.suspect is not None


def test_a_program_that_is_too_large_is_not_tried(monkeypatch) -> None:
    network, x, y, radius = branching_problem()
    monkeypatch.setattr(milp, "_LARGEST", 10)
    monkeypatch.setattr(milp, "milp", lambda *_a, **_k: pytest.fail("tried"))
    assert certify(network, x, y, "2", radius).status.tolist() == ["undecided"] * 2


def test_a_counterexample_outweighs_the_solvers_bound(monkeypatch) -> None:
    """The solver is trusted only where no point of the ball speaks against it."""
    network, x, y, radius = hard_problem("inf")
    lowered = ReluNetwork.of([*network.layers[:-1], (network.weights[-1], network.biases[-1] - 0.1)])
    problem = Problem.of(lowered, x, y, "inf", radius, "sign")
    real = search(problem, np.random.default_rng(0), x)
    monkeypatch.setattr(module, "search", lambda problem, *_a, **_k: problem.points)
    monkeypatch.setattr(module, "minimize_row", lambda *_a, **_k: MilpResult(10.0, real[0], True))
    found = certify(lowered, x, y, "inf", radius)
    assert found.status.tolist() == ["counterexample"]
    assert found.tier.tolist() == ["milp"]
    assert found.lower[0] <= found.upper[0] <= 0
    require_witnesses(found, problem)


def test_a_counterexample_outweighs_structural_bounds() -> None:
    """A centre with the wrong label disproves whatever was claimed."""
    network, x, y, radius = hard_problem("inf")
    found = certify(network, x, -y, "inf", radius, structural=lambda: np.array([3.0]))
    assert found.status.tolist() == ["counterexample"]
    assert found.lower[0] == -math.inf


def test_structural_bounds_come_first() -> None:
    network, x, y, radius = hard_problem("inf")
    found = certify(network, x, y, "inf", radius, structural=lambda: np.array([0.05]), tiers=())
    assert found.certified.all()
    assert found.tier.tolist() == ["structural"]
    assert found.lower[0] == 0.05
    none = certify(network, x, y, "inf", radius, structural=lambda: np.array([np.nan]), tiers=("interval",))
    assert none.tier.tolist() == ["interval"]


def test_tiers_are_tried_in_order_and_named() -> None:
    rng = np.random.default_rng(4)
    network = random_network(rng, (6, 6), 5)
    x = rng.standard_normal((30, 5))
    labels = np.where(network(x)[:, 0] > 0, 1, -1)
    found = certify(network, x, labels, "inf", 0.1)
    assert set(found.by_tier) >= {"attack", "interval", "linear"}
    interval = certify(network, x, labels, "inf", 0.1, tiers=("interval",))
    assert (interval.certified == (found.tier == "interval")).all()
    assert sum(found.by_status.values()) == 30
    assert str(found) == (
        f"{found.by_status['certified']} certified, {found.by_status['counterexample']} counterexample, "
        f"{found.by_status['undecided']} undecided; decided by "
        + ", ".join(f"{tier} {count}" for tier, count in found.by_tier.items())
    )


def test_torch_networks_are_accepted_and_progress_is_reported() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x = np.random.default_rng(0).standard_normal((6, 3))
    labels = model(torch.tensor(x).float()).argmax(1).numpy()
    told: list[float] = []
    found = certify(model, x, labels, "2", 0.02, readout="argmax", tick=told.append)
    assert found.certified.any()
    assert sum(told) == 6


def test_the_gradient_is_torchs() -> None:
    rng = np.random.default_rng(2)
    network = random_network(rng, (7, 6), 4, 3, sparse_layers=True)
    x, labels = rng.standard_normal((5, 4)), np.array([0, 1, 2, 0, 1])
    problem = Problem.of(network, x, labels, "2", 0.1, "argmax")
    value, gradient = margin_and_gradient(problem, x)
    np.testing.assert_allclose(value, margins("argmax", network(x), labels), rtol=1e-12)
    z = torch.tensor(x, requires_grad=True)
    rows = (torch.tensor(problem.rows) @ network.module()(z)[..., None])[..., 0] + torch.tensor(problem.offsets)
    rows.min(1).values.sum().backward()
    np.testing.assert_allclose(gradient, z.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("norm", NORMS)
def test_the_falsifier_solves_linear_problems(norm) -> None:
    network = ReluNetwork.of([(np.array([[3.0, -4.0]]), [0.0])])
    problem = Problem.of(network, np.ones((2, 2)), np.array([1, -1]), norm, 0.5, "sign")
    points, upper = verified(problem, search(problem, np.random.default_rng(0), problem.points))
    dual = {"1": 4.0, "2": 5.0, "inf": 7.0}[norm]
    np.testing.assert_allclose(upper, [-1 - 0.5 * dual, 1 - 0.5 * dual], rtol=1e-9)
    assert all(contains(x, z, norm, 0.5) for x, z in zip(problem.points, points, strict=True))


def test_equal_seeds_give_equal_certificates_and_points_do_not_interact() -> None:
    rng = np.random.default_rng(9)
    network = random_network(rng, (15, 15), 6)
    x = rng.standard_normal((4, 6))
    labels = np.where(network(x)[:, 0] > 0, 1, -1)
    a, b = (certify(network, x, labels, "2", 0.4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.upper, b.upper)
    each = [certify(network, x[i : i + 1], labels[i : i + 1], "2", 0.4) for i in range(4)]
    assert [c.status[0] for c in each] == a.status.tolist()


def test_an_empty_set_of_points_is_accepted() -> None:
    network = random_network(np.random.default_rng(0), (4,), 3)
    for form in (network, network.module()):
        found = certify(form, np.empty((0, 3)), np.empty(0, int), "2", 0.1)
        assert found.by_status == {"certified": 0, "counterexample": 0, "undecided": 0}
        assert str(found).endswith("none")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1e155, 1e200, 1e300])
def test_the_milp_proves_nothing_where_products_of_weights_overflow(size: float, norm: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        network = random_network(rng, (5, 4), 3)
        network = ReluNetwork((*(size * w for w in network.weights[:2]), network.weights[2]), network.biases)
        found = certify(network, rng.standard_normal((3, 3)), np.array([1, -1, 1]), norm, 0.3, nodes=50)
        assert (found.tier[found.certified] != "milp").all()


NETWORK = random_network(np.random.default_rng(0), (4,), 3)
POINTS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((2, 4))}, "points must have shape (N, 3), one row of network inputs each, got (2, 4)"),
        ({"points": np.zeros(3)}, "points must have shape (N, 3), one row of network inputs each, got (3,)"),
        ({"points": np.array([[0, 0, 0], [0, np.nan, 0]])}, "points must be finite, got a NaN or infinite"),
        ({"labels": np.array([1])}, "labels must have shape (2,), one for each point, got (1,)"),
        ({"labels": np.array([1.5, 1])}, "labels must be integers (N,), got type float64"),
        ({"labels": np.array(["a", "b"])}, "labels must be integers (N,)"),
        ({"labels": np.array([1, -1 + 0j])}, "labels must be integers (N,), got type complex128"),
        ({"labels": np.array([1, np.inf])}, "labels must be integers (N,), got type float64"),
        ({"radius": 0.1 + 0j}, "radius must be a real number, got (0.1+0j)"),
        ({"labels": np.array([0, 1])}, "labels must be -1 and +1 for readout sign, got [0, 1]"),
        ({"readout": "argmax"}, "argmax for several, got 'argmax' for 1"),
        ({"norm": "linf"}, "norm must be one of 1, 2, inf, got 'linf'; did you mean inf?"),
        ({"radius": -0.1}, "radius must be finite and at least 0, in input units, got -0.1"),
        ({"radius": math.nan}, "radius must be finite and at least 0, in input units, got nan"),
        ({"radius": math.inf}, "radius must be finite and at least 0, in input units, got inf"),
        ({"tiers": ("interval", "crown")}, "tiers must be among interval, linear, milp, got 'crown'"),
        ({"nodes": 0}, "nodes must be an integer of at least 1, got 0"),
        ({"nodes": 2.5}, "nodes must be an integer of at least 1, got 2.5"),
        ({"structural": lambda: np.zeros(3)}, "structural bounds must have shape (2,), one for each point, got (3,)"),
        ({"network": torch.nn.Sequential(torch.nn.Conv1d(1, 1, 1))}, "module model.0 must be one of Linear, ReLU, "),
    ],
)
def test_wrong_arguments_are_named(change, message) -> None:
    arguments = {"network": NETWORK, "points": POINTS, "labels": np.array([1, -1]), "norm": "2", "radius": 0.1} | change
    with pytest.raises(UserError, match=re.escape(message)) as error:
        certify(**arguments)
    assert "\n" not in str(error.value)


def test_the_lifted_ball_contains_the_ball_and_little_more() -> None:
    """The largest sum over it is at most sqrt(1 + D / K^2) times that over the ball."""
    dim, tangents = 6, 8
    network = ReluNetwork.of([(-np.ones((1, dim)), [0.0])])
    problem = Problem.of(network, np.zeros((1, dim)), np.array([1]), "2", 1.0, "sign")
    answer = minimize_row(problem, 0, [], nodes=1000, exact=True, tangents=tangents)
    least = -answer.lower
    assert math.sqrt(dim) <= least <= math.sqrt(dim) * math.sqrt(1 + dim / tangents**2) + 1e-3


def test_flat_neurons_and_tiny_ranges_do_not_break_the_program() -> None:
    """Neurons that are constant over the ball, by zero weights or a tiny reach, are left free in their range."""
    w1 = np.array([[1.0, 0], [0, 0], [0, 0], [1e-13, 0]])
    network = ReluNetwork.of([(w1, [0.0, 0.0, 2.0, 1.0]), (np.array([[1.0, 1.0, 1.0, 1.0]]), [-2.5])])
    problem = Problem.of(network, np.zeros((1, 2)), np.array([1]), "inf", 1.0, "sign")
    answer = minimize_row(problem, 0, linear_bounds(problem).hidden, nodes=1000, exact=True)
    assert answer.lower == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_neurons_that_cancel_to_almost_nothing(norm) -> None:
    """relu(1e9 (h - h') + 1e-9 x) with equal h, h': a range of 1e-9 made of numbers of 1e9."""
    first = np.array([[1.0, 0], [1, 0], [0, 1], [1, 1]])
    second = np.array([[1e9, -1e9, 1e-9, 0], [0, 0, 0, 1.0], [0, 0, 1, -1]])
    network = ReluNetwork.of(
        [(first, [5.0, 5, 5, 0]), (second, [-5e-9, -0.3, -4.9]), (np.array([[1.0, -1, 2]]), [1.2])]
    )
    x, y = np.zeros((1, 2)), np.array([1])
    found = certify(network, x, y, norm, 1.0, exact=True)
    truth = smallest(network, np.ones(1), 0.0, x[0], norm, 1.0)
    assert found.lower[0] <= truth + 1e-6
    assert found.upper[0] >= truth - 1e-6
    assert found.status[0] != ("counterexample" if truth > 1e-3 else "certified")


def test_coefficients_stay_within_what_a_solver_can_tell_apart(monkeypatch) -> None:
    first = np.array([[1.0, 0], [1, 0], [0, 1]])
    second = np.array([[1e9, -1e9, 1e-9], [0, 0, 1e-9]])
    network = ReluNetwork.of([(first, [5.0, 5, 0.5]), (second, [-5e-9, 0.0]), (np.array([[1.0, -1.0]]), [1.2])])
    problem = Problem.of(network, np.zeros((1, 2)), np.array([1]), "inf", 1.0, "sign")
    seen = []
    real = milp.milp
    monkeypatch.setattr(milp, "milp", lambda *a, **k: seen.append(abs(k["constraints"].A.data).max()) or real(*a, **k))
    assert minimize_row(problem, 0, linear_bounds(problem).hidden, nodes=1000).lower == pytest.approx(1.2, abs=1e-3)
    assert max(seen) < 1e6


def test_a_ball_that_is_too_coarse_is_refined_once(monkeypatch) -> None:
    """A relaxed minimum <= 0 without a counterexample asks for four times the tangents, in l_2 only."""
    asked = []

    def too_coarse(problem, *_arguments, tangents, **_options) -> MilpResult:
        asked.append(tangents)
        return MilpResult(0.01 if tangents > 32 else -0.01, problem.points[0], True)

    monkeypatch.setattr(module, "minimize_row", too_coarse)
    for norm, tangents, status in (("2", [32, 128], "certified"), ("inf", [32], "undecided")):
        asked.clear()
        network, x, y, radius = hard_problem(norm)
        assert certify(network, x, y, norm, radius).status.tolist() == [status]
        assert asked == tangents
