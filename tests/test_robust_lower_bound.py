"""Lower bounds of robust networks: closed forms, the line solved exactly, the grid family built."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from cgro.certify.certify import certify
from cgro.certify.necessary import falsify_by_first_layer
from cgro.data.separated import basis_family, grid_family, random_points
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.experiment import UserError
from cgro.networks.memorizers.bounds import (
    first_layer_width,
    lower_bound_total,
    neurons_for_all_labellings,
    published_scaling_total,
    shared_square_scaling_total,
    shattered_points,
    vc_bound,
)
from cgro.networks.memorizers.constructions import memorize
from cgro.networks.memorizers.line import label_changes, line_memorizer, line_network, neurons_needed
from simulations import robust_lower_bound


def test_closed_forms() -> None:
    assert first_layer_width(11, 10, 0.5, "2") == 3  # ceil(2.5)
    assert first_layer_width(5, 10, 0.5, "2") == 1
    assert first_layer_width(11, 10, 0.51, "inf") == 10
    assert first_layer_width(11, 10, 0.9, "1") == 1  # ceil(8.1 / 10)
    assert lower_bound_total(40, 1000, 0.5, "2") == 10_010
    assert lower_bound_total(200, 200, 0.9, "2") == 32_562
    assert shattered_points(10, 0.9) == 5 * 5
    assert published_scaling_total(40, 1000, 0.5) == pytest.approx(2.5e6)
    assert shared_square_scaling_total(40, 1000, 0.5) == 11_040
    for ratio in (0.0, 1.0, -1.0):
        with pytest.raises(UserError, match="ratio is"):
            first_layer_width(10, 10, ratio, "2")


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
    with pytest.raises(UserError, match="the line network reads -1 and"):
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
    config = robust_lower_bound.Config(cells_per_side=(2,), largest_dim=4, largest_grid=4, line_cells=3, seeds=1)
    result = robust_lower_bound.run(config)
    line = result.where(result["kind"] == "line", drop=True)
    assert line.sizes["record"] == 1 + 3
    assert (line["neurons"] == line["needed"]).all()
    assert (line["certified"] == 1).all()
    grid = result.where(result["kind"] == "grid", drop=True)
    assert grid["cells"].values.tolist() == [2, 4, 8]
    assert grid["nonzero"].values[-1] == -1
    assert (grid["certified"].values[:2] == 1).all()
    data = grid_family(2, 3, 0.0125, seed=0)
    assert isinstance(data, LabelledPoints)
    for options, message in (({"line_cells": 11}, "line_cells is 11"), ({"ratio": 1.0}, "ratio is 1: allowed")):
        with pytest.raises(UserError, match=message):
            robust_lower_bound.Config(**options)  # type: ignore[arg-type]
