"""Robust memorizers: every construction does what its theorem says, at its size, and refuses what it excludes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cgro.base.errors import UserError
from cgro.base.norms import Norm, length
from cgro.certify.structural import structural_margins
from cgro.memorizers.ball_sum import ball_layers, scaled
from cgro.memorizers.constructions import CONSTRUCTIONS, NORMS, memorize
from cgro.memorizers.shared_powers import smallest_power
from cgro.memorizers.task import Memorizer, encode, memorization_task
from cgro.networks.readout import margins
from cgro.networks.relu import PrecisionError, ReluNetwork

BINARY_ONLY = {"lipschitz"}


def cloud(samples: int, dim: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform points with random labels: -1 and +1, or 0..classes-1; every class occurs."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(samples) % classes)
    return rng.random((samples, dim)), 2 * labels - 1 if classes == 2 else labels


def limit(points: np.ndarray, labels: np.ndarray, norm: Norm, construction: str) -> float:
    """The radius below which a construction serves: half the separation; for p = 2 as an even power of l_inf, less."""
    half = memorization_task(points, labels, norm, 1e-9).separation.distance / 2
    return half * (2 / (1 + np.sqrt(points.shape[1])) if construction == "even_power" else 1.0)


def on_spheres(m: Memorizer, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Random points of the balls' boundary, corners and edges where the norm has them, and straight to a neighbour."""
    x, norm, rng = m.task.data.points, m.task.norm, np.random.default_rng(seed)
    for k in range(draws):
        z = rng.normal(size=x.shape)
        if norm == "inf":
            z = np.where(rng.random(x.shape) < 0.8, np.sign(z), z.clip(-1, 1))
        elif norm == "1":
            z = np.where(rng.random(x.shape) < 1.5 / x.shape[1], z, 0.0)
            z[~z.any(axis=1), 0] = 1.0
        if k % 3 == 0:
            z = x[rng.permutation(len(x))] - x
            z[~z.any(axis=1), 0] = 1.0
        yield x + z / length(z, norm)[:, None] * m.task.radius


def assert_memorizes(m: Memorizer, draws: int = 30) -> None:
    """Sampled margins reach the proved one, up to the rounding of this evaluation."""
    worst = min(
        margins(m.readout, m.network(points), m.task.data.labels).min()
        for points in (m.task.data.points, *on_spheres(m, draws, 0))
    )
    scale = max(1.0, m.network.largest_weight)
    assert worst >= m.margin * (1 - 1e-6) - 1e-13 * scale * m.task.data.dim
    assert m.margin > 0


CASES = [(norm, name) for norm, names in NORMS.items() for name in names]


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("norm", "construction"), CASES)
def test_a_construction_memorizes_at_its_size(norm: Norm, construction: str, classes: int, ratio: float) -> None:
    if construction in BINARY_ONLY and classes > 2:
        pytest.skip("for two labels")
    for samples, dim, seed in ((10, 2, 0), (30, 7, 1), (2 * classes, 1, 2), (12, 20, 3)):
        points, labels = cloud(samples, dim, classes, seed)
        radius = ratio * limit(points, labels, norm, construction)
        m = memorize(points, labels, norm, radius, construction=construction)
        assert_memorizes(m)
        assert m.network.size == m.claimed
        assert (structural_margins(m) == m.margin).all()
        assert (m.predict(points) == labels).all()


@pytest.mark.parametrize(("norm", "construction"), CASES)
def test_the_rarer_sign_is_stored(norm: Norm, construction: str) -> None:
    points, _ = cloud(12, 3, 2, 0)
    widths = []
    for rare in (-1, 1):
        labels = np.where(np.arange(12) < 3, rare, -rare)
        m = memorize(points, labels, norm, 0.5 * limit(points, labels, norm, construction), construction=construction)
        assert_memorizes(m)
        assert m.network.size == m.claimed
        widths.append((m.network.widths, m.network.depth))
    # Three balls either way, but for sides that a grid shares by chance.
    assert widths[0] == widths[1] or construction == "shared_hinges"
    few, many = (
        memorize(points, labels, norm, 0.5 * limit(points, labels, norm, construction), construction=construction)
        for labels in (np.where(np.arange(12) < 2, 1, -1), np.where(np.arange(12) < 6, 1, -1))
    )
    assert few.network.size.neurons < many.network.size.neurons


@pytest.mark.parametrize(("norm", "construction"), CASES)
@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.05, 0.97), st.floats(-50, 50), st.floats(-3, 3))
def test_scale_and_place_do_not_matter(
    norm: Norm, construction: str, seed: int, ratio: float, shift: float, scale: float
) -> None:
    points, labels = cloud(8, 3, 2, seed)
    points = points * 10**scale + shift
    m = memorize(points, labels, norm, ratio * limit(points, labels, norm, construction), construction=construction)
    assert_memorizes(m, draws=6)


@pytest.mark.parametrize(("norm", "construction"), CASES)
def test_where_each_coordinate_lies_does_not_matter(norm: Norm, construction: str) -> None:
    """A network grows with the spread of the points, not with offsets of single coordinates."""
    points, labels = cloud(8, 3, 2, 0)
    points = np.rint(points * 2**20) / 2**20  # exact at every offset
    radius = 0.5 * limit(points, labels, norm, construction)
    here = memorize(points, labels, norm, radius, construction=construction)
    for offset in ([0, 10, 0], [0, 1e4, -1e4]):
        there = memorize(points + offset, labels, norm, radius, construction=construction)
        assert_memorizes(there, draws=6)
        assert there.network.size.total == here.network.size.total


@pytest.mark.parametrize("offset", [0.0, 10.0, 1e4])
def test_levels_of_squares_follow_the_spread(offset: float) -> None:
    """m <= max(1, log_4(16 d (Delta / lambda)^2 / (1 - rho))) = 3 for d = 2, Delta = lambda = 1, rho = 1/2."""
    m = memorize([[0, offset], [1, offset]], [-1, 1], "2", 0.25, construction="ball_sum")
    assert m.network.depth - 3 <= 3
    assert m.network.size.total == 77


@pytest.mark.parametrize(("norm", "construction"), CASES)
def test_labels_may_be_any_integers(norm: Norm, construction: str) -> None:
    if construction in BINARY_ONLY:
        pytest.skip("for two labels")
    points, _ = cloud(9, 4, 2, 0)
    labels = np.array([-7, 5, 5, 0, 1000, -7, 3, 5, 0])
    m = memorize(points, labels, norm, 0.6 * limit(points, labels, norm, construction), construction=construction)
    assert_memorizes(m)
    assert m.network.size == m.claimed


@pytest.mark.parametrize(("norm", "construction"), CASES)
def test_a_network_with_a_changed_weight_is_not_a_known_construction(norm: Norm, construction: str) -> None:
    points, labels = cloud(8, 3, 2, 0)
    m = memorize(points, labels, norm, 0.3 * limit(points, labels, norm, construction), construction=construction)
    biases = [b.copy() for b in m.network.biases]
    biases[-1] = np.nextafter(biases[-1] + 0.1, np.inf)
    other = replace(m, network=ReluNetwork(m.network.weights, tuple(biases)))
    assert (structural_margins(other) == -np.inf).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_ball_layer_bears_the_errors_that_it_is_told_of(seed: int) -> None:
    """Centres wrong by the stated error and squares by theirs, both in the worst direction: no label changes."""
    points, labels = cloud(9, 3, 2, seed)
    task = memorization_task(points, labels, "2", 0.4 * limit(points, labels, "2", "ball_sum"))
    cube, code, eta, rng = scaled(task), encode(task, "sign"), 1e-3, np.random.default_rng(seed)
    error = 1e-3 * cube.gap
    for own in (True, False):
        reach = cube.radius if own else cube.separation - cube.radius
        for k in code.stored:
            # Straight to or from the centre, as far as its ball or another one goes.
            away = rng.normal(size=3)
            away /= np.linalg.norm(away)
            t = cube.points[k] + reach * away
            wrong = cube.points.copy()
            wrong[k] += (-error if own else error) * np.sign(away)
            moved = replace(cube, points=wrong, error=error)
            ((weight, bias), *_), margin = ball_layers(task, moved, code, eta * cube.gap)
            square = eta * cube.gap * own
            hinge = (weight @ np.append(t, t.sum() - t @ t - square) + bias)[list(code.stored).index(k)]
            # The margin of the signs is half of what hinges reach on their own balls.
            assert hinge >= 2 * margin if own else hinge <= 0


def test_balls_may_not_meet() -> None:
    for norm, names in NORMS.items():
        half = limit(POINTS, LABELS, norm, names[0])
        for factor in (1.0, 1.2, 1.9):
            with pytest.raises(UserError, match=r"radius must be below .*: points"):
                memorize(POINTS, LABELS, norm, half * factor)


@given(seed=st.integers(0, 10**6), dim=st.integers(1, 5))
def test_points_of_different_labels_within_two_radii_share_a_perturbed_point(seed: int, dim: int) -> None:
    """The midpoint: such radii are refused, and all smaller ones admitted."""
    points = np.random.default_rng(seed).normal(size=(2, dim))
    midpoint = points.mean(axis=0)
    for norm in NORMS:
        half = length(points[1] - points[0], norm).item() / 2
        assert length(midpoint - points, norm).max() <= half * (1 + 1e-9)
        assert memorization_task(points, [-1, 1], norm, half * (1 - 1e-9)).ratio < 1
        with pytest.raises(UserError, match="radius must be below"):
            memorization_task(points, [-1, 1], norm, half * (1 + 1e-9))


def test_shared_hinges_are_fewer() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 16, (80, 30)) / 16
    labels = rng.choice([-1, 1], 80)
    own = memorize(images, labels, "inf", 0.2, construction="hinge_sum")
    shared = memorize(images, labels, "inf", 0.2, construction="shared_hinges", spacing=0.0)
    assert shared.network.size.neurons < own.network.size.neurons / 2
    assert_memorizes(shared)


def test_projection_takes_fewer_dimensions_where_rho_is_small() -> None:
    points, labels = cloud(40, 300, 2, 0)
    half = limit(points, labels, "2", "ball_sum")
    dims = []
    for ratio in (0.3, 0.5, 0.9):
        m = memorize(points, labels, "2", ratio * half, construction="projected_ball_sum")
        assert_memorizes(m)
        dims.append(m.network.widths[0])
    assert dims[0] < dims[1] < dims[2] <= 39
    full = memorize(points, labels, "2", 0.5 * half)
    small = memorize(points, labels, "2", 0.5 * half, construction="projected_ball_sum")
    assert small.network.size.total < full.network.size.total / 10


def test_lipschitz_constant_is_the_smallest_possible() -> None:
    points, labels = cloud(20, 5, 2, 0)
    m = memorize(points, labels, "inf", 0.01, construction="lipschitz")
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4000, 5))
    b = a + 0.01 * (b - a)
    slope = np.abs(m.network(a) - m.network(b))[:, 0] / np.abs(a - b).max(axis=1)
    best = 2 / m.task.separation.distance
    assert 0.9 * best < slope.max() <= best * (1 + 1e-9)


def test_smallest_power_is_smallest() -> None:
    for dim in (1, 2, 10, 100):
        for inner, outer in ((0.1, 0.3), (0.2, 0.21), (0.01, 0.9)):
            p = smallest_power(dim, inner, outer)
            assert dim * inner**p < outer**p
            assert p == 2 or dim * inner ** (p - 2) >= outer ** (p - 2)


POINTS, LABELS = cloud(6, 2, 2, 0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (POINTS, LABELS, "2", 9.0),
            {},
            r"radius must be below .*, got 9: points \d and \d with labels",
        ),
        ((POINTS, LABELS, "2", 0.0), {}, r"radius must be finite and greater than 0, in input units, got 0.0"),
        ((POINTS, LABELS, "2", np.nan), {}, "radius must be finite"),
        ((POINTS, LABELS, "2", 0.1 + 0j), {}, r"radius must be a real number, got \(0.1\+0j\)"),
        ((POINTS, LABELS, "2", "0.1"), {}, "radius must be a real number, got '0.1'"),
        ((POINTS, LABELS, "2", True), {}, "radius must be a real number, got True"),
        ((POINTS, LABELS, "2", np.ones(2)), {}, r"radius must be a real number, got array"),
        ((POINTS + 0j, LABELS, "2", 0.1), {}, "points must be real numbers"),
        ((POINTS.astype(str), LABELS, "2", 0.1), {}, "points must be real numbers"),
        ((POINTS, LABELS, "3", 0.1), {}, r"norm must be .*got '3'"),
        ((np.ones((2, 2)), [0, 1], "2", 0.1), {}, r"points 0 and 1 coincide but have labels 0 and 1"),
        ((POINTS, np.ones(6), "2", 0.1), {}, r"labels must be of two classes"),
        ((POINTS, LABELS / 2, "2", 0.1), {}, r"labels must be integers"),
        ((POINTS * np.inf, LABELS, "2", 0.1), {}, r"at coordinate \d of point \d"),
        ((np.ones((6, 0)), LABELS, "2", 0.1), {}, r"points must have shape .*got \(6, 0\)"),
        ((POINTS, LABELS, "2", 1e-3), {"construction": "hinge"}, r"construction must be .*got 'hinge'"),
        (
            (POINTS, LABELS, "2", 1e-3),
            {"construction": "hinge_sum"},
            r"norm must be 'inf' for .*hinge_sum",
        ),
        (
            (POINTS, LABELS, "inf", 1e-3),
            {"construction": "ball_sum"},
            r"norm must be '2' for .*ball_sum",
        ),
        ((POINTS, [0, 1, 2, 0, 1, 2], "2", 1e-3), {"readout": "sign"}, r"labels must be -1 and .1 for readout 'sign'"),
        (
            (POINTS, [2**63 - 1, -(2**63)] * 3, "2", 1e-3),
            {},
            r"labels must span less than 2\^31",
        ),
        (
            (POINTS, [2**53 + 1, 2**53 + 3] * 3, "2", 1e-3),
            {},
            r"labels must be at most 2\^51 in size",
        ),
        ((POINTS, LABELS, "2", 1e-3), {"readout": "argmax"}, "readout must be 'sign' or 'label'"),
        (
            (POINTS, LABELS, "inf", 1e-3),
            {"construction": "even_power", "power": 3},
            r"power must be even and at least .*got 3",
        ),
        ((POINTS, LABELS, "inf", 1e-3), {"construction": "shared_hinges", "spacing": 1.0}, r"spacing must be .*got 1"),
        (
            (POINTS, LABELS, "2", 1e-3),
            {"construction": "projected_ball_sum", "dim": 3},
            r"dim must be 1 to 2, the dimension that the points span, got 3",
        ),
    ],
)
def test_excluded_cases_are_refused_in_one_line(arguments: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        memorize(*arguments, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("norm", "construction"), CASES)
def test_lost_precision_is_refused(norm: Norm, construction: str) -> None:
    points, labels = cloud(6, 2, 2, 0)
    # Neighbouring numbers are 1e-4 apart there.
    points = points + 1e12
    radius = limit(points, labels, norm, construction) * (1 - 1e-6)
    if construction == "lipschitz":  # Its weights are exact.
        assert_memorizes(memorize(points, labels, norm, radius, construction=construction))
        return
    with pytest.raises(PrecisionError) as caught:
        memorize(points, labels, norm, radius, construction=construction)
    assert "\n" not in str(caught.value)


def test_every_construction_is_tested() -> None:
    assert {name for _, name in CASES} | {"cgro_classifier", "grid_cells", "grouped_cells"} == set(CONSTRUCTIONS)
