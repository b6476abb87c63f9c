"""Lower bounds of robust networks: closed forms, the line solved exactly, the grid family built."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, linprog

from cgro.base.errors import UserError
from cgro.certify.certify import certify
from cgro.certify.necessary import falsify_by_first_layer
from cgro.claims.exhaustive import realizable
from cgro.data.separated import basis_family, grid_family, random_points
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.bounds import (
    first_layer_width,
    lower_bound_total,
    memorizer_size_lower_bound,
    neurons_for_all_labellings,
    published_scaling_total,
    shared_square_scaling_total,
    shattered_points,
    vc_bound,
)
from cgro.memorizers.cells import Plan
from cgro.memorizers.constructions import memorize
from cgro.memorizers.grid_bounds import (
    parameters_for_all_labellings,
    parity,
    parity_network,
    shattered_share,
    square_neurons,
    vc_bound_by_parameters,
)
from cgro.memorizers.line import label_changes, line_memorizer, line_network, neurons_needed
from cgro.memorizers.projection_bounds import levels_bound, total_bound
from cgro.memorizers.robust_size import (
    cells_per_side,
    group_size,
    pattern_bits,
    robust_size_lower_bound,
    robust_size_upper_bound,
    share_lost,
)
from cgro.memorizers.shifted_grids import cubes_per_ball, shifted_grids_total
from cgro.networks.relu import ReluNetwork
from cgro.simulations import robust_lower_bound
from cgro.training import capacity
from cgro.training.capacity import Stack, StackedNetworks


def test_closed_forms() -> None:
    assert first_layer_width(11, 10, 0.5, "2") == 3  # ceil(2.5)
    assert first_layer_width(5, 10, 0.5, "2") == 1
    assert first_layer_width(11, 10, 0.51, "inf") == 10
    assert first_layer_width(11, 10, 0.9, "1") == 1  # ceil(8.1 / 10)
    assert lower_bound_total(40, 1000, 0.5, "2") == 10_010
    assert lower_bound_total(200, 200, 0.9, "2") == 32_562
    assert shattered_points(10, 6, 0.9) == 5 * 6
    # 40 points span 40 dimensions at most: N^3 rho^4 + rho^2 N D + D.
    assert published_scaling_total(40, 1000, 0.5) == pytest.approx(4_000 + 10_000 + 1_000)
    assert published_scaling_total(1000, 40, 0.5) == pytest.approx(100_000 + 400 + 40)
    assert shared_square_scaling_total(40, 1000, 0.5) == 11_040
    for ratio in (0.0, 1.0, -1.0):
        with pytest.raises(UserError, match="ratio must be between 0 and 1"):
            first_layer_width(10, 10, ratio, "2")


def test_shattered_points_stop_at_the_dimension() -> None:
    """Half-spaces memorize every two points at every ratio, and shatter D + 1 points only."""
    for dim in range(2, 40):
        edge = math.sqrt(1 - 1 / dim)
        assert shattered_points(2, dim, edge) == dim + 1
        assert shattered_points(2, dim, edge * (1 - 1e-6)) == dim
        assert shattered_points(2, dim, 0.9999) == dim + 1
    assert shattered_points(10, 9, 0.5, "1") == 5 * 2
    assert shattered_points(10, 9, 0.5, "inf") == 5
    for bad in ({"dim": 0}, {"samples": 0}, {"ratio": 1.0}):
        with pytest.raises(UserError, match=next(iter(bad))):
            shattered_points(**({"samples": 2, "dim": 2, "ratio": 0.5} | bad))


def test_a_memorizer_is_as_large_as_either_part_of_the_bound_says() -> None:
    assert memorizer_size_lower_bound(40, 1000, 0.5) == lower_bound_total(40, 1000, 0.5, "2")
    points = 10**6 // 2 * 6
    expected = math.ceil(math.sqrt(points / math.log2(4 * math.e * points)))
    assert memorizer_size_lower_bound(10**6, 6, 0.9) == expected > lower_bound_total(10**6, 6, 0.9, "2")
    data = random_points(30, 3, seed=1)
    for ratio in (0.1, 0.5, 0.9):
        radius = ratio * opposite_separation(data, "2").distance / 2
        m = memorize(data, None, "2", radius, construction="ball_sum")
        assert m.network.size.total >= memorizer_size_lower_bound(30, 3, ratio)


def test_constructions_on_the_worst_points_keep_the_first_layer_bound() -> None:
    """On {0, e_1, ..., e_D} no robust network may have a narrower first layer, so ours cannot either."""
    for dim in (3, 8, 15):
        data = basis_family(dim)
        for ratio in (0.4, 0.7, 0.95):
            m = memorize(data, None, "2", ratio / 2, construction="projected_ball_sum", trials=40)
            assert m.network.widths[0] >= first_layer_width(dim + 1, dim, ratio, "2")
            assert m.network.size.total >= lower_bound_total(dim + 1, dim, ratio, "2")


def test_vc_bound_by_hand() -> None:
    # One hidden layer of 2 neurons on 3 inputs: 8 + 3 = 11 parameters.
    R = 1 * 2 + 2 * 1
    expected = 2 + (8 + 11) * np.log2(4 * np.e * R * np.log2(2 * np.e * R))
    assert vc_bound((3, 2, 1)) == pytest.approx(expected)
    for cells in (5, 10**3, 10**6):
        k = neurons_for_all_labellings(cells, 4)
        assert vc_bound((4, k, 1)) >= cells
        assert k == 1 or vc_bound((4, k - 1, 1)) < cells
    assert neurons_for_all_labellings(10**8, 9) > 10**4


def test_the_bound_by_parameters_is_above_that_of_every_architecture() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = (*rng.integers(1, 12, rng.integers(2, 6)).tolist(), 1)
        parameters = sum((a + 1) * b for a, b in pairwise(sizes))
        assert vc_bound(sizes) <= vc_bound_by_parameters(parameters, len(sizes) - 1)
    # 10 parameters in 2 layers by hand.
    assert vc_bound_by_parameters(10, 2) == pytest.approx(2 + 20 * np.log2(80 * np.e * np.log2(40 * np.e)))


def test_sizes_of_robust_classifiers_of_the_grid() -> None:
    """Exponential in D at the rate (D - 1) / 2, below what is built, and most cells are lost far below the bound."""
    for eps, K in ((0.25, 2), (0.05, 10), (1 / 6, 3)):
        assert cells_per_side(eps) == K
        lower = [robust_size_lower_bound(dim, eps) for dim in (2, 10, 40, 200, 1000)]
        upper = [robust_size_upper_bound(dim, eps) for dim in (2, 10, 40, 200, 1000)]
        assert lower == sorted(lower)
        assert all(a < b for a, b in zip(lower, upper, strict=True))
        rate = (math.log(lower[-1]) - math.log(lower[-2])) / (800 * math.log(K))
        assert rate == pytest.approx(0.5, abs=0.002)
    # By hand: n = 2^19, L = W, H(0.1) = 0.468996.
    n, W = 2**19, robust_size_lower_bound(20, 0.25)
    bits = [w + w**2 * math.log2(2 * math.e * n) + w * math.log2(w * (20 + w)) for w in (W - 1, W)]
    assert bits[0] < n * (1 - 0.4689956) <= bits[1]
    assert float(pattern_bits(n, W, 20)) == pytest.approx(bits[1])
    assert robust_size_lower_bound(20, 0.25, depth=3) > W > robust_size_lower_bound(20, 0.25, error=0.3)
    # Smaller networks lose more, up to half of the cells.
    shares = [share_lost(40, 0.25, W) for W in (10, 1000, 10**4, 10**6)]
    assert shares == sorted(shares, reverse=True)
    assert 0.49 < shares[0] < 0.5
    assert shares[-1] == 0
    assert share_lost(20, 0.25, W - 1) >= 0.1 > share_lost(20, 0.25, W)
    for bad, words in ((lambda: cells_per_side(0.3), "eps"), (lambda: robust_size_lower_bound(1, 0.25), "dim")):
        with pytest.raises(UserError, match=words):
            bad()
    with pytest.raises(UserError, match=r"error must be in \[0, 1/2\), got 0.5"):
        robust_size_lower_bound(5, 0.25, error=0.5)


def test_the_upper_bound_is_above_the_plans_of_the_library() -> None:
    for K, dim in ((2, 2), (2, 6), (2, 12), (3, 5), (10, 3)):
        stored, digits = K ** (dim - 1) // 2, K.bit_length()
        bits = digits * dim
        plan = Plan(stored, bits, 1, digits, dim, group_size(stored, bits))
        assert plan.size.total <= robust_size_upper_bound(dim, 1 / (2 * K))
        assert Plan.best(stored, bits, 1, digits, dim).size.total <= robust_size_upper_bound(dim, 1 / (2 * K))


@pytest.mark.parametrize(("dim", "ratio"), [(5, 1e-3), (20, 1e-3)])
def test_projections_at_small_radii_trade_levels_for_parameters(dim: int, ratio: float) -> None:
    """They take more levels than a projection that keeps k / (2 d) of squared separations, and fewer parameters."""
    generator = np.random.default_rng(0)
    x, y = generator.uniform(size=(2 * dim + 2, dim)), np.where(np.arange(2 * dim + 2) % 2, 1, -1)
    apart = opposite_separation(LabelledPoints(x, y), "2").distance
    found = memorize(x, y, "2", ratio * apart / 2, construction="projected_ball_sum")
    spread = max(float(np.linalg.norm(x - point, axis=1).max()) for point in x) / apart
    span, k = min(dim, len(x) - 1), found.network.widths[0]
    kept = found.network.weights[0] / np.linalg.norm(found.network.weights[0][0])
    projected = opposite_separation(LabelledPoints(x @ kept.T, y), "2").distance
    assert projected**2 < k * apart**2 / (2 * span)
    assert found.network.depth - 4 > levels_bound(span, k, ratio, spread)
    assert found.network.size.total < total_bound(len(x), dim, ratio, spread)


def test_a_vote_of_shifted_grids_grows_as_the_root_of_the_points() -> None:
    assert cubes_per_ball(2, 0.5) == 3**2
    assert cubes_per_ball(1, 0.9) == 11
    few, many = (shifted_grids_total(N, 2, 0.5, 100.0) for N in (10**8, 10**12))
    assert many / few == pytest.approx(100, rel=0.02)
    assert memorizer_size_lower_bound(10**12, 2, 0.5) < many < 10**12 // 2 * 5
    for bad in ({"samples": 1}, {"dim": 0}, {"ratio": 1.0}):
        with pytest.raises(UserError, match=next(iter(bad))):
            shifted_grids_total(**({"samples": 4, "dim": 2, "ratio": 0.5, "spread": 2.0} | bad))


def test_parameters_for_all_labellings_is_the_smallest_and_grows() -> None:
    for depth in (2, 3, 10):
        counts = [parameters_for_all_labellings(cells, depth) for cells in (1, 10, 100, 10**4, 10**8)]
        assert counts == sorted(counts)
        for cells, W in zip((10**4, 10**8), counts[-2:], strict=True):
            assert vc_bound_by_parameters(W, depth) >= cells > vc_bound_by_parameters(W - 1, depth)
    assert parameters_for_all_labellings(10**6, 2) > parameters_for_all_labellings(10**6, 3)
    with pytest.raises(UserError, match=r"depth must be .*got 0"):
        parameters_for_all_labellings(10, 0)


def test_shattered_share_is_what_sauer_leaves() -> None:
    """Patterns are counted on half of the cells, and Sauer's lemma is applied to that half."""
    share = shattered_share(0.1)
    assert share == pytest.approx(0.0895426, abs=1e-6)
    # (e V / d)^d in place of Sauer's sum gives a little less; both are above the published constant.
    weaker = brentq(lambda s: s * math.log(math.e / (2 * s)) - math.log(1.6) / 2, 1e-9, 0.25)
    assert weaker == pytest.approx(0.0846536, abs=1e-6)
    assert 0.05 < weaker < share
    assert shattered_share(0.2) < share < shattered_share(0.0)
    for cells in (20, 100, 400, 4000):
        half = cells // 2
        few = sum(math.comb(half, i) for i in range(math.floor(share * cells) + 1))
        # So many patterns are not enough: more cells are shattered.
        assert few * 5**half < 8**half
    # Five per cent more does not follow from that number of patterns.
    assert sum(math.comb(500, i) for i in range(math.floor(1.05 * share * 1000) + 1)) * 5**500 > 8**500
    with pytest.raises(UserError, match=r"error must be in \[0, 1/4\), got 0\.25"):
        shattered_share(0.25)


@pytest.mark.parametrize(("cells", "dim"), [(2, 2), (2, 5), (3, 3), (5, 3), (10, 2)])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.95])
def test_parity_takes_nine_parameters_for_each_step(cells: int, dim: int, ratio: float) -> None:
    labels = parity(cells, dim)
    data = grid_family(cells, dim, 0.01 * ratio / cells, labelling=labels)
    assert (labels == (-1) ** np.rint(cells * data.points[:, :-1]).sum(axis=1).astype(int)).all()
    network = parity_network(cells, dim, ratio)
    assert network.size.nonzero == 9 * (dim - 1) * (cells - 1)
    assert network.depth == 4
    found = certify(network, data.points, data.labels, "inf", ratio / (2 * cells), tiers=("interval", "linear"))
    assert found.certified.all()
    for signs in (1, -1, np.random.default_rng(0).choice((-1, 1), data.points.shape)):
        ends = data.points + signs * ratio / (2 * cells)
        np.testing.assert_allclose(network(ends)[:, 0], labels, atol=1e-9)
    # Halfway between neighbours the label changes.
    halfway = data.points.copy()
    halfway[:, 0] += np.where(halfway[:, 0] < 1, 0.5, -0.5) / cells
    np.testing.assert_allclose(network(halfway), 0, atol=1e-9)


def test_square_bounds_agree_with_brute_force_over_lines() -> None:
    """One neuron decides by a line; a linear program says whether a line parts the balls of the classes."""
    corners = np.array([[1, 1], [1, 2], [2, 1], [2, 2]]) / 2
    for ratio in (0.3, 0.49, 0.51, 0.9):
        radius = ratio / 4
        box = radius * np.array(list(product((-1, 1), repeat=2)))
        for labels in product((-1, 1), repeat=4):
            y = np.repeat(labels, 4)
            x = np.column_stack([(corners[:, None] + box).reshape(-1, 2), np.ones(16)])
            line = linprog(np.zeros(3), A_ub=-y[:, None] * x, b_ub=-np.ones(16), bounds=(None, None)).success
            needed = square_neurons(np.array(labels), ratio)
            assert (needed <= 1) == line
            if needed == 3:
                cells = [(Fraction(a), Fraction(b)) for a in (0, 1) for b in (0, 1)]
                assert realizable(cells, labels, Fraction(1, 4), 2) is False
                assert realizable(cells, labels, Fraction(1, 4), 3) is True
            assert (needed == 0) == (len(set(labels)) == 1)
    for labels in ((1, 1), (0, 1, 1, 1)):
        with pytest.raises(UserError, match="must be 4 values of -1 and"):
            square_neurons(np.array(labels), 0.5)


def test_two_neurons_suffice_where_the_docstring_says() -> None:
    # A corner at any ratio below 1: relu(x_1 - t) + relu(x_2 - t) - small.
    eye = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    for ratio in (0.5, 0.95):
        t = 0.5 + ratio / 4
        corner = ReluNetwork.of([(eye, np.full(2, -t)), (np.ones((1, 2)), np.array([-(1 - ratio) / 4]))])
        labels = np.array([-1, 1, 1, 1])
        data = grid_family(2, 3, 0.01, labelling=labels)
        assert certify(corner, data.points, labels, "inf", ratio / 4).certified.all()
        assert square_neurons(labels, ratio) == 2
    # A diagonal below ratio 1/2: a function of x_1 + x_2.
    along = np.array([[1.0, 1.0, 0], [1.0, 1.0, 0]])
    labels = np.array([-1, 1, 1, -1])
    data = grid_family(2, 3, 0.01, labelling=labels)
    diagonal = ReluNetwork.of([(along, np.array([-1.0, -1.5])), (np.array([[1.0, -2.0]]), np.array([-0.25]))])
    assert certify(diagonal, data.points, labels, "inf", 0.49 / 4).certified.all()
    assert not certify(diagonal, data.points, labels, "inf", 0.51 / 4).certified.any()


def test_bad_parity_networks_are_refused() -> None:
    with pytest.raises(UserError, match=r"ratio must be .*got 1"):
        parity_network(2, 3, 1.0)
    for cells, dim in ((1, 3), (2, 1)):
        with pytest.raises(UserError, match="must be an integer of at least 2, got 1"):
            parity_network(cells, dim, 0.5)


@pytest.mark.parametrize("count", range(8))
def test_line_networks_change_sign_where_they_should(count: int) -> None:
    for seed in range(5):
        zeros = np.sort(np.random.default_rng(seed).uniform(-3, 5, count))
        direction = np.array([0.5, -2.0])
        for first in (-1, 1):
            network = line_network(zeros, first, direction)
            assert network.size.neurons == max(1, neurons_needed(count))
            s = np.linspace(-6, 8, 3001)
            s = s[np.abs(s[:, None] - zeros).min(axis=1, initial=9) > 1e-3]
            x = s[:, None] * direction / (direction @ direction)
            expected = first * (-1.0) ** (s[:, None] > zeros).sum(axis=1)
            np.testing.assert_array_equal(np.sign(network(x)[:, 0]), expected)


@pytest.mark.parametrize("labels", [(-1, 1, 1, -1, -1), (1, -1, 1, 1, -1)])
def test_no_two_layer_network_has_fewer_neurons(labels: tuple[int, ...]) -> None:
    """By brute force: however one neuron less looks, with breaks anywhere on a grid, no coefficients fit the labels."""
    y, points = np.array(labels), np.arange(5.0)
    m = neurons_needed(label_changes(y)) - 1
    assert m in (1, 2)
    breaks = np.arange(-0.5, 5, 0.5 if m == 1 else 1.0)
    for places, side in product(product(breaks, repeat=m), product((-1, 1), repeat=m)):
        h = np.maximum(np.array(side) * (points[:, None] - np.array(places)), 0)
        design = -y[:, None] * np.column_stack([h, np.ones(5)])
        fit = linprog(np.zeros(m + 1), A_ub=design, b_ub=-np.ones(5), bounds=(None, None))
        assert not fit.success, (places, side)


def test_neurons_needed() -> None:
    assert [neurons_needed(c) for c in range(8)] == [0, 1, 2, 3, 3, 4, 5, 6]


def test_a_projection_memorizes_but_not_robustly() -> None:
    for seed, (samples, dim) in enumerate(((2, 1), (20, 5), (60, 3))):
        data = random_points(samples, dim, seed=seed)
        network, radius = line_memorizer(data, seed)
        assert (np.sign(network(data.points)[:, 0]) == data.labels).all()
        assert network.size.nonzero <= dim + 1 + 3 * (samples - 1) + 1
        assert certify(network, data.points, data.labels, "2", 0.99 * radius).certified.all()
        assert falsify_by_first_layer(network, data.points, data.labels, "2", 0.99 * radius) is None
        assert falsify_by_first_layer(network, data.points, data.labels, "2", 1.01 * radius) is not None
        half = opposite_separation(data, "2").distance / 2
        assert radius <= half * (1 + 1e-9)
        assert dim == 1 or radius < 0.6 * half
    with pytest.raises(UserError, match=r"labels must be -1 and .1 for the line network"):
        line_memorizer(LabelledPoints([[0.0], [1.0]], [0, 1]))
    with pytest.raises(UserError, match="have the same projection"):
        line_memorizer(LabelledPoints([[0.0], [0.0]], [-1, 1]))


def test_all_labellings_of_a_line_are_certified() -> None:
    for labels in product((-1, 1), repeat=4):
        if len(set(labels)) == 1:
            continue
        y = np.array(labels)
        data = grid_family(4, 2, 0.01, labelling=y)
        x = data.points[:, 0]
        zeros = ((x[1:] + x[:-1]) / 2)[y[1:] != y[:-1]]
        network = line_network(zeros, int(y[0]), np.array([1.0, 0.0]))
        assert certify(network, data.points, y, "inf", 0.99 / 8).certified.all()
        # Beyond half the distance of cells, points with another neighbour are lost.
        assert not certify(network, data.points, y, "inf", 1.02 / 8).certified.all()


def test_the_experiment_and_its_refusals() -> None:
    config = robust_lower_bound.Config(
        cells_per_side=(2,), largest_dim=4, largest_grid=4, bound_dim=24, line_cells=3, seeds=1, square_width=2
    )
    result = robust_lower_bound.run(config)
    bound = result.where(result["kind"] == "bound", drop=True)
    assert bound["dim"].values.tolist() == list(range(2, 25))
    assert (bound["lower"] <= bound["upper"]).all()
    lost = result.where(result["kind"] == "lost", drop=True)
    assert ((lost["share"] >= 0) & (lost["share"] < 0.5)).all()
    assert float(lost["share"].max()) > 0.4
    line = result.where(result["kind"] == "line", drop=True)
    assert line.sizes["record"] == 1 + 3
    assert (line["neurons"] == line["needed"]).all()
    assert (line["certified"] == 1).all()
    grid = result.where(result["kind"] == "grid", drop=True)
    assert grid["cells"].values.tolist() == [2, 4, 8]
    assert grid["nonzero"].values[-1] == -1
    assert (grid["certified"].values[:2] == 1).all()
    assert (grid["total"] >= grid["nonzero"]).all()
    assert (grid["nonzero"].values[:2] >= grid["needed_at_depth"].values[:2]).all()
    parities = result.where(result["kind"] == "parity", drop=True)
    assert parities["nonzero"].values.tolist() == [9, 18]
    assert (parities["certified"] == 1).all()
    square = result.where(result["kind"] == "square", drop=True)
    assert square.sizes["record"] == 7
    found = square["neurons"].values > 0
    assert found.any()
    assert (square["certified"].values == found).all()
    assert (square["neurons"].values >= square["needed"].values)[found].all()
    assert (square["neurons"].values == 1)[square["needed"].values == 1].all()
    for options, message in (
        ({"line_cells": 11}, "line_cells must be 2 to 10, got 11"),
        ({"bound_dim": 251}, "bound_dim must be 2 to 250, got 251"),
        ({"square_width": 0}, "square_width"),
        ({"ratio": 1.0}, "ratio must be .*got 1"),
    ):
        with pytest.raises(UserError, match=message):
            robust_lower_bound.Config(**options)  # type: ignore[arg-type]


def test_only_certified_networks_count_for_the_square(monkeypatch: pytest.MonkeyPatch) -> None:
    def boast(data: Stack, widths: torch.Tensor, *, generator: torch.Generator, **_options: object) -> tuple:
        return StackedNetworks(data, widths, 2, generator), torch.ones(len(data.x))

    monkeypatch.setattr(capacity, "train_robustly", boast)
    cell = robust_lower_bound.Cell("square", 2, 3, 0.5, 1, True, restarts=1, width=1)
    rows = robust_lower_bound.solve_squares(cell)
    assert [row["neurons"] for row in rows] == [-1] * 7
    assert [row["certified"] for row in rows] == [0.0] * 7
