"""Interval and linear bounds: sound in exact arithmetic at any scale, never looser, as tight as CROWN."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from tools import random_network

from cgro.base.norms import DUAL, length
from cgro.certify import interval, linear
from cgro.certify.ball import contains, extreme, inside, uniform
from cgro.certify.interval import interval_bounds, margin_interval
from cgro.certify.linear import linear_bounds
from cgro.certify.problem import Problem
from cgro.certify.rounding import UNIT, gamma, row_norms
from cgro.networks.relu import ReluNetwork

NORMS = ("1", "2", "inf")


def random_problem(seed, norm, scales=(1.0,), readout=None, depth=None, radius=None) -> Problem:
    """A small network, a few points and their labels."""
    rng = np.random.default_rng(seed)
    readout = readout or rng.choice(["sign", "label", "argmax"])
    inputs = int(rng.integers(1, 5))
    widths = rng.integers(1, 7, size=rng.integers(0, 4) if depth is None else depth).tolist()
    outputs = 3 if readout == "argmax" else 1
    network = random_network(rng, widths, inputs, outputs, scales, sparse_layers=bool(rng.integers(2)))
    points = rng.standard_normal((3, inputs)) * rng.choice(scales)
    labels = {"sign": [1, -1, 1], "label": [0, 3, -2], "argmax": [0, 2, 1]}[str(readout)]
    radius = abs(points).max() * rng.choice([0.0, 1e-9, 0.1, 1.0]) if radius is None else radius
    return Problem.of(network, points, np.array(labels), norm, float(radius), readout)


def exact_layers(network: ReluNetwork, x) -> list[list[Fraction]]:
    """W h + b of each layer in rational arithmetic."""
    h, out = [Fraction(float(v)) for v in x], []
    for weight, bias in network.layers:
        weight = weight.toarray() if sparse.issparse(weight) else weight
        z = [
            sum((Fraction(float(w)) * v for w, v in zip(row, h, strict=True)), Fraction(float(b)))
            for row, b in zip(weight, bias, strict=True)
        ]
        out.append(z)
        h = [max(v, Fraction(0)) for v in z]
    return out


def exact_rows(problem: Problem, i: int, outputs: list[Fraction]) -> list[Fraction]:
    """The margin's rows in rational arithmetic."""
    return [
        sum((Fraction(float(c)) * f for c, f in zip(row, outputs, strict=True)), Fraction(float(d)))
        for row, d in zip(problem.rows[i], problem.offsets[i], strict=True)
    ]


def points_of_the_ball(problem: Problem, i: int, rng) -> list[np.ndarray]:
    """The centre, extreme points and random points, all in the ball exactly."""
    x = problem.points[i]
    directions = np.concatenate([rng.standard_normal((4, len(x))), np.zeros((1, len(x)))])
    far = x + problem.radius * extreme(directions, problem.norm)
    near = x + problem.radius * uniform(rng, (3, len(x)), problem.norm)
    return [inside(x, z, problem.norm, problem.radius) for z in (*far, *near)]


NASTY = st.sampled_from([(1.0,), (1e8, 1e-8), (1e8, 1.0), (1e-8,), (1e-150, 1.0), (1e100, 1.0), (1e-160, 1e160)])


def require_sound(problem: Problem, seed: int) -> None:
    rng = np.random.default_rng(seed)
    hidden = interval_bounds(problem.network, problem.points, problem.norm, problem.radius)
    low, high = margin_interval(problem)
    found = linear_bounds(problem)
    for i in range(len(problem)):
        for z in points_of_the_ball(problem, i, rng):
            layers = exact_layers(problem.network, z)
            for (lower, upper), exact in zip(hidden, layers, strict=True):
                assert all(a <= v <= b for a, v, b in zip(lower[i], exact, upper[i], strict=True))
            for (lower, upper), exact in zip(found.hidden, layers[:-1], strict=True):
                assert all(a <= v <= b for a, v, b in zip(lower[i], exact, upper[i], strict=True))
            rows = exact_rows(problem, i, layers[-1])
            assert all(a <= v <= b for a, v, b in zip(low[i], rows, high[i], strict=True))
            assert all(a <= v for a, v in zip(found.lower[i], rows, strict=True))


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), norm=st.sampled_from(NORMS), scales=NASTY)
def test_bounds_hold_in_exact_arithmetic(seed, norm, scales) -> None:
    require_sound(random_problem(seed, norm, scales), seed)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), norm=st.sampled_from(NORMS), big=st.sampled_from([1e3, 1e8, 1e12]))
def test_bounds_hold_where_outputs_cancel(seed, norm, big) -> None:
    """Differences of huge, nearly equal neurons: float64 alone gets the margin's sign wrong."""
    problem = random_problem(seed, norm, readout="sign", depth=2, radius=1e-3)
    (w1, b1), (w2, b2), (w3, _) = [(w.toarray() if sparse.issparse(w) else w, b) for w, b in problem.network.layers]
    rng = np.random.default_rng(seed)
    near = w2 * (1 + 1e-15 * rng.integers(-3, 4, size=w2.shape))
    network = ReluNetwork.of(
        [
            (big * w1, big * b1),
            (np.concatenate([w2, near]), np.concatenate([b2, b2])),
            (np.concatenate([w3, -w3], 1), [0]),
        ]
    )
    require_sound(replace(problem, network=network), seed)


def wrong_without_rounding(problem: Problem) -> bool:
    """Does plain float64 evaluation at the centres leave the bounds that claim to hold there?"""
    values = np.einsum("nro,no->nr", problem.rows, problem.network(problem.points)) + problem.offsets
    exact = [exact_rows(problem, i, exact_layers(problem.network, x)[-1]) for i, x in enumerate(problem.points)]
    return any(Fraction(float(v)) != e for i, rows in enumerate(exact) for v, e in zip(values[i], rows, strict=True))


def test_the_soundness_tests_meet_rounding_errors() -> None:
    problems = [random_problem(seed, "inf", (1e8, 1e-8), radius=0.0) for seed in range(20)]
    assert sum(map(wrong_without_rounding, problems)) > 10


def test_without_the_rounding_terms_the_soundness_test_fails(monkeypatch) -> None:
    for module in (interval, linear):
        monkeypatch.setattr(module, "down", lambda x: x)
        monkeypatch.setattr(module, "up", lambda x: x)
        monkeypatch.setattr(module, "gamma", lambda _operations: 0.0)
    problems = [random_problem(seed, "inf", (1e8, 1e-8), radius=0.0) for seed in range(40)]
    with pytest.raises(AssertionError):
        [require_sound(problem, 0) for problem in problems]


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), scales=NASTY)
def test_a_layer_of_known_inputs_is_bounded_outward(seed, scales) -> None:
    """Intervals of width 0: what is left is rounding alone."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, (), 40, 5, scales)
    h = rng.standard_normal((2, 40)) * rng.choice(scales, size=40)
    lower, upper = interval.affine(*network.layers[0], (h, h))
    for i in range(2):
        exact = exact_layers(network, h[i])[0]
        assert all(a <= v <= b for a, v, b in zip(lower[i], exact, upper[i], strict=True))


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), norm=st.sampled_from(NORMS), scales=NASTY)
def test_linear_bounds_are_never_looser(seed, norm, scales) -> None:
    problem = random_problem(seed, norm, scales)
    found = linear_bounds(problem)
    assert (found.lower >= margin_interval(problem)[0]).all()
    plain = interval_bounds(problem.network, problem.points, norm, problem.radius)
    for (lower, upper), (low, high) in zip(found.hidden, plain[:-1], strict=True):
        assert (lower >= low).all()
        assert (upper <= high).all()
    one = [linear_bounds(problem, (name,)).lower for name in linear.BOTH]
    assert np.isfinite(one).all() or max(scales) >= 1e100


@pytest.mark.parametrize("norm", NORMS)
def test_one_affine_layer_is_exact(norm) -> None:
    """Without a ReLU both bounds are the margin's minimum, to rounding."""
    rng = np.random.default_rng(1)
    network = random_network(rng, (), 6, 3)
    x, y = rng.standard_normal((5, 6)), np.array([0, 1, 2, 0, 1])
    problem = Problem.of(network, x, y, norm, 0.3, "argmax")
    rows = problem.rows @ network.weights[0]
    exact = (rows @ x[..., None])[..., 0] + problem.rows @ network.biases[0] - 0.3 * length(rows, DUAL[norm])
    np.testing.assert_allclose(margin_interval(problem)[0], exact, rtol=1e-12)
    np.testing.assert_allclose(linear_bounds(problem).lower, exact, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_hinges_of_single_coordinates_are_bounded_exactly(norm) -> None:
    """sum_k relu(x_k - 1) + 1/2 around 0 with radius 1: every hinge just stays shut."""
    network = ReluNetwork.of([(np.eye(3), -np.ones(3)), (np.ones((1, 3)), [0.5])])
    problem = Problem.of(network, np.zeros((1, 3)), np.array([1]), norm, 1.0, "sign")
    np.testing.assert_allclose(margin_interval(problem)[0], 0.5, rtol=1e-12)


def crown(problem: Problem, i: int, relaxation: str) -> np.ndarray:
    """CROWN from its published formulas, for one point; bounds of neurons are intersected with interval bounds."""
    network, x, r = problem.network, problem.points[i], problem.radius
    q = {"1": np.inf, "2": 2, "inf": 1}[problem.norm]
    weights = [w.toarray() if sparse.issparse(w) else w for w in network.weights]
    biases = list(network.biases)
    weights[-1], biases[-1] = problem.rows[i] @ weights[-1], problem.rows[i] @ biases[-1] + problem.offsets[i]
    bounds: list[tuple[np.ndarray, np.ndarray]] = []

    def concretize(k: int, sign: float) -> np.ndarray:
        A, c = sign * weights[k], sign * biases[k]
        for j in range(k - 1, -1, -1):
            low, up = bounds[j]
            on, off = low >= 0, up <= 0
            s = np.where(on, 1, np.where(off, 0, up / np.where(on | off, 1, up - low)))
            t = np.where(on | off, 0, -s * low)
            a = np.where(on | off, s, s if relaxation == "parallel" else (up > -low))
            c = c + np.minimum(A, 0) @ t
            A = np.maximum(A, 0) * a + np.minimum(A, 0) * s
            A, c = A @ weights[j], c + A @ biases[j]
        return A @ x + c - r * np.linalg.norm(A, ord=q, axis=1)

    def ibp(k: int, inner: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        if k == 0:
            reach = r * np.linalg.norm(weights[0], ord=q, axis=1)
            return weights[0] @ x + biases[0] - reach, weights[0] @ x + biases[0] + reach
        low, up = np.maximum(inner[k - 1][0], 0), np.maximum(inner[k - 1][1], 0)
        plus, minus = np.maximum(weights[k], 0), np.minimum(weights[k], 0)
        return plus @ low + minus @ up + biases[k], plus @ up + minus @ low + biases[k]

    plain: list[tuple[np.ndarray, np.ndarray]] = []
    for k in range(len(weights)):
        plain.append(ibp(k, plain))
        tight = ibp(k, bounds)
        low, high = concretize(k, 1.0), -concretize(k, -1.0)
        if k < len(weights) - 1:
            # Stable neurons keep interval bounds: their lines are the same.
            loose = np.maximum(plain[k][0], tight[0]), np.minimum(plain[k][1], tight[1])
            open_ = (loose[0] < 0) & (loose[1] > 0)
            low, high = np.where(open_, low, -np.inf), np.where(open_, high, np.inf)
        bounds.append((np.max([low, plain[k][0], tight[0]], 0), np.min([high, plain[k][1], tight[1]], 0)))
    return bounds[-1][0]


@pytest.mark.parametrize("relaxation", linear.BOTH)
@pytest.mark.parametrize("norm", NORMS)
def test_as_tight_as_crown_of_the_literature(norm, relaxation) -> None:
    for seed in range(30):
        problem = random_problem(seed, norm, depth=3, radius=0.3)
        found = linear_bounds(problem, (relaxation,)).lower
        for i in range(len(problem)):
            np.testing.assert_allclose(found[i], crown(problem, i, relaxation), rtol=1e-9, atol=1e-9)


def test_deep_and_narrow_networks_are_bounded_where_intervals_explode() -> None:
    rng = np.random.default_rng(0)
    network = random_network(rng, (12,) * 99, 4)
    x = rng.standard_normal((4, 4))
    problem = Problem.of(network, x, np.where(network(x)[:, 0] > 0, 1, -1), "2", 1e-3, "sign")
    assert margin_interval(problem)[0].max() < -1e3
    assert linear_bounds(problem).lower.max() > 0


def test_a_sum_that_overflows_on_its_way_has_no_bounds() -> None:
    """-1e308 - 1e308 + 1e308 is finite, but float64 passes through -infinity, whose neighbour is no upper bound."""
    weight = np.array([[-1e308, -1e308, 1e308]])
    lower, upper = interval.affine(weight, np.zeros(1), (np.ones((1, 3)), np.ones((1, 3))))
    assert lower[0, 0] <= -1e308 <= upper[0, 0]


def test_overflow_gives_no_bound_instead_of_a_wrong_one() -> None:
    network = ReluNetwork.of([(1e200 * np.ones((2, 2)), np.zeros(2))] * 2 + [(np.ones((1, 2)), [1.0])])
    problem = Problem.of(network, np.ones((1, 2)), np.array([1]), "inf", 0.5, "sign")
    assert margin_interval(problem)[0] == -np.inf
    assert linear_bounds(problem).lower == -np.inf


@pytest.mark.parametrize("norm", NORMS)
def test_sparse_layers_give_the_bounds_of_dense_ones(norm) -> None:
    rng = np.random.default_rng(3)
    network = random_network(rng, (8, 8), 4, sparse_layers=True)
    dense = ReluNetwork.of((w.toarray(), b) for w, b in network.layers)
    x, y = rng.standard_normal((4, 4)), np.ones(4, int)
    a, b = (Problem.of(n, x, y, norm, 0.2, "sign") for n in (network, dense))
    np.testing.assert_allclose(margin_interval(a)[0], margin_interval(b)[0], rtol=1e-12)
    np.testing.assert_allclose(linear_bounds(a).lower, linear_bounds(b).lower, rtol=1e-12)


def test_chunks_change_nothing(monkeypatch) -> None:
    problem = random_problem(5, "2", depth=3, radius=0.3)
    whole = linear_bounds(problem)
    low = margin_interval(problem)[0]
    monkeypatch.setattr(linear, "_PAIRS", 1)
    monkeypatch.setattr("cgro.certify.problem._MEMORY", 1)
    assert len(list(problem.chunks())) == len(problem)
    np.testing.assert_allclose(margin_interval(problem)[0], low, rtol=1e-14)
    np.testing.assert_allclose(linear_bounds(problem).lower, whole.lower, rtol=1e-12)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([1e-310, 1e-160, 1e-8, 1.0, 1e200]))
def test_row_norms_are_upper_bounds(seed, scale) -> None:
    weight = np.random.default_rng(seed).standard_normal((3, 4)) * scale
    weight[1] = 0
    exact = [[Fraction(abs(float(w))) for w in row] for row in weight]
    for matrix in (weight, sparse.csr_array(weight)):
        one, two, top = (row_norms(matrix, norm) for norm in NORMS)
        assert all(Fraction(float(v)) >= sum(row) for v, row in zip(one, exact, strict=True))
        assert all(Fraction(float(v)) ** 2 >= sum(w * w for w in row) for v, row in zip(two, exact, strict=True))
        assert all(Fraction(float(v)) == max(row) for v, row in zip(top, exact, strict=True))
        if scale > 1e-300:
            np.testing.assert_allclose(one, [float(sum(row)) for row in exact], rtol=1e-14)
            np.testing.assert_allclose(two, [np.hypot.reduce(row) for row in weight], rtol=1e-14)


def test_gamma_is_an_upper_bound_and_refuses_what_it_cannot_bound() -> None:
    for k in (1, 10, 10**6):
        assert Fraction(gamma(k)) >= Fraction(k) * Fraction(UNIT) / (1 - k * Fraction(UNIT))
    with pytest.raises(OverflowError, match="no useful bound"):
        gamma(2**50)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    norm=st.sampled_from(NORMS),
    radius=st.sampled_from([0.0, 1e-300, 1e-12, 1e-3, 1.0, 1e6]),
    scale=st.sampled_from([0.0, 1.0, 1e6]),
)
def test_points_are_moved_into_the_ball_exactly_and_hardly(seed, norm, radius, scale) -> None:
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal(5)
    z = x + radius * extreme(rng.standard_normal(5), norm)
    moved = inside(x, z, norm, radius)
    assert contains(x, moved, norm, radius)
    differences = [abs(Fraction(float(b)) - Fraction(float(a))) for a, b in zip(x, moved, strict=True)]
    size = {"1": sum(differences), "inf": max(differences)}.get(norm)
    exact = size <= Fraction(radius) if size is not None else sum(d * d for d in differences) <= Fraction(radius) ** 2
    assert exact
    if radius >= 1e-3 * max(scale, 1):
        assert length(moved - x, norm) >= radius * (1 - 1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_extreme_points_reach_the_dual_norm(norm) -> None:
    direction = np.random.default_rng(0).standard_normal((6, 4))
    direction[0] = 0
    u = extreme(direction, norm)
    assert (length(u, norm) <= 1 + 1e-12).all()
    np.testing.assert_allclose((u * direction).sum(1), length(direction, DUAL[norm]), rtol=1e-12)
    draws = uniform(np.random.default_rng(1), (4000, 3), norm)
    inner = (length(draws, norm) <= 0.5).mean()
    assert abs(inner - 1 / 8) < 5 * np.sqrt(1 / 8 * 7 / 8 / 4000)
