"""Collisions of the first layer (K3): closest pairs, real collisions, and no network that escapes them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize
from test_certify_bounds import NORMS
from tools import random_network

from cgro.base.errors import UserError
from cgro.base.norms import distances, length
from cgro.certify.ball import contains
from cgro.certify.certify import certify
from cgro.certify.necessary import closest_pair, falsify_by_first_layer, first_layer_radius
from cgro.networks.relu import ReluNetwork


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    norm=st.sampled_from(NORMS),
    share=st.sampled_from([0.9, 1.1]),
    wide=st.booleans(),
)
def test_pairs_collide_from_the_radius_on(seed, norm, share, wide) -> None:
    """At 1.1 times the radius both points exist, get one value and one of them the wrong label; below there is none."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, (9 if wide else 2, 5), 4)
    x, y = rng.standard_normal((6, 4)), np.array([1, 1, -1, 1, -1, -1])
    radius = share * first_layer_radius(network.weights[0], x, y, norm)
    found = falsify_by_first_layer(network, x, y, norm, radius)
    if share < 1:
        assert found is None
        return
    assert found is not None
    i, j = found.first, found.second
    assert y[i] != y[j]
    assert contains(x[i], found.first_point, norm, radius)
    assert contains(x[j], found.second_point, norm, radius)
    assert found.mismatch <= 1e-12
    assert found.distance <= 2 * radius
    both = np.stack([found.first_point, found.second_point])
    np.testing.assert_allclose(*network(both), rtol=1e-9, atol=1e-9)
    assert (certify(network, both, y[[i, j]], norm, 0.0, tiers=("interval",)).status == "counterexample").any()


@pytest.mark.parametrize("norm", NORMS)
def test_the_closest_pair_is_found_among_all(norm) -> None:
    """Against a general-purpose minimizer over the null space, pair by pair."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((2, 4))
    x, y = rng.standard_normal((5, 4)), np.array([0, 1, 0, 2, 1])
    null = np.linalg.svd(weight)[2][2:].T
    least = np.inf
    for i in range(5):
        for j in range(i):
            if y[i] != y[j]:
                gap = x[i] - x[j]
                starts = [np.zeros(2), *rng.standard_normal((3, 2))]
                ends = [
                    minimize(lambda t, gap=gap: length(gap - null @ t, norm), s, method="Nelder-Mead", tol=1e-10)
                    for s in starts
                ]
                least = min([least, *(end.fun for end in ends)])
    for matrix in (weight, sparse.csr_array(weight)):
        found = closest_pair(matrix, x, y, norm)
        assert found is not None
        assert found[3] == pytest.approx(least, rel=1e-5)
        assert np.abs(weight @ (found[2] - (x[found[0]] - x[found[1]]))).max() < 1e-12
        assert first_layer_radius(matrix, x, y, norm) == pytest.approx(least / 2, rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_an_injective_layer_leaves_the_distance_of_the_data(norm) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((8, 3)), np.arange(8) % 2
    opposite = distances(x[y == 0], x[y == 1], norm).min()
    assert first_layer_radius(rng.standard_normal((5, 3)), x, y, norm) == pytest.approx(opposite / 2)


def test_a_projection_hides_what_is_orthogonal_to_it() -> None:
    """Points that differ only where the layer does not look collide at once, with e = 0."""
    network = ReluNetwork.of([(np.array([[1.0, 0.0]]), [0.0]), (np.array([[1.0]]), [0.0])])
    x, y = np.array([[0.0, 0.0], [0.0, 5.0]]), np.array([-1, 1])
    for norm in NORMS:
        found = falsify_by_first_layer(network, x, y, norm, 0.0)
        assert found is not None
        assert found.distance == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_array_equal(found.first_point, x[0])


def test_robust_networks_keep_the_necessary_distance() -> None:
    """Whatever is certified, K3 holds: |P (x_i - x_j)|_2 > 2 mu."""
    seen = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        network = random_network(rng, (3, 6), 4)
        x = rng.standard_normal((4, 4))
        labels = np.where(network(x)[:, 0] > 0, 1, -1)
        found = certify(network, x, labels, "2", 0.05)
        kept = np.flatnonzero(found.certified)
        if len(np.unique(labels[kept])) == 2:
            seen += 1
            assert first_layer_radius(network.weights[0], x[kept], labels[kept], "2") > 0.05
    assert seen > 5


def test_one_label_never_collides() -> None:
    network = random_network(np.random.default_rng(0), (2,), 3)
    x = np.random.default_rng(1).standard_normal((4, 3))
    assert falsify_by_first_layer(network, x, np.ones(4, int), "2", 100.0) is None
    assert first_layer_radius(network.weights[0], x, np.ones(4, int), "2") == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((2, 4))}, "points must have shape (N, 3), one row of network inputs each, got (2, 4)"),
        ({"labels": np.zeros(3)}, "labels must have shape (2,), one for each point, got (3,)"),
        ({"radius": np.nan}, "radius must be finite and at least 0, in input units, got nan"),
        ({"radius": -1.0}, "radius must be finite and at least 0, in input units, got -1.0"),
        ({"norm": "3"}, "norm must be one of 1, 2, inf, got '3'"),
    ],
)
def test_wrong_arguments_are_named(change, message) -> None:
    network = random_network(np.random.default_rng(0), (2,), 3)
    arguments = {"points": np.zeros((2, 3)), "labels": np.array([0, 1]), "norm": "2", "radius": 1.0} | change
    with pytest.raises(UserError, match=re.escape(message)):
        falsify_by_first_layer(network, **arguments)
