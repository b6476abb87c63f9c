"""Rank correlation: tau-b by its definition, the bootstrap by brute force, coverage, and verdicts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy

from cgro.base.errors import UserError
from cgro.measures.rank_correlation import counts, interval, tau, tau_within, verdict

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 5, 20).astype(float), RNG.integers(0, 4, 20).astype(float)
STRATA = np.repeat([0, 1, 2], [5, 7, 8])


def test_tau_by_its_definition() -> None:
    pairs = [(np.sign(X[i] - X[j]), np.sign(Y[i] - Y[j])) for i, j in itertools.combinations(range(20), 2)]
    score = sum(a * b for a, b in pairs)
    sizes = [sum(abs(pair[k]) for pair in pairs) for k in (0, 1)]
    assert tau(X, Y) == pytest.approx(score / math.sqrt(sizes[0] * sizes[1]))
    assert tau(X, -X) == -1
    assert math.isnan(tau(X, 0 * X))


@pytest.mark.parametrize("strata", [None, STRATA])
def test_the_interval_is_that_of_resampled_pools(strata) -> None:
    draws, groups = 60, np.zeros(20, int) if strata is None else strata
    drawn = counts(groups, draws, 3).astype(int)
    values = [scipy.stats.kendalltau(np.repeat(X, each), np.repeat(Y + 0.2 * X, each)).statistic for each in drawn]
    found = interval(X, Y + 0.2 * X, strata, draws=draws, seed=3, confidence=0.8)
    np.testing.assert_allclose(found, np.quantile(values, [0.1, 0.9]))


def test_tau_within_counts_pairs_of_the_same_stratum_only() -> None:
    pairs = [
        (np.sign(X[i] - X[j]), np.sign(Y[i] - Y[j]))
        for i, j in itertools.combinations(range(20), 2)
        if STRATA[i] == STRATA[j]
    ]
    sizes = [sum(abs(pair[k]) for pair in pairs) for k in (0, 1)]
    assert tau_within(X, Y, STRATA) == pytest.approx(sum(a * b for a, b in pairs) / math.sqrt(sizes[0] * sizes[1]))
    assert tau_within(X, Y, 0 * STRATA) == pytest.approx(tau(X, Y))
    assert math.isnan(tau_within(STRATA.astype(float), Y, STRATA))


def test_what_follows_the_stratum_alone_has_no_tau_within() -> None:
    """Both quantities rise from stratum to stratum, and are independent within: the confounder makes all of tau."""
    rng, strata = np.random.default_rng(2), np.repeat([0, 1, 2, 3], 40)
    x, y = (10 * strata + rng.standard_normal(160) for _ in range(2))
    assert tau(x, y) > 0.7
    low, high = interval(x, y, strata, within=True, draws=500)
    assert low < 0 < high
    assert low <= tau_within(x, y, strata) <= high


def test_the_interval_within_is_that_of_resampled_pools() -> None:
    drawn = counts(STRATA, 60, 3).astype(int)
    y = Y + 0.2 * X
    values = [tau_within(*(np.repeat(v, each) for v in (X, y, STRATA))) for each in drawn]
    found = interval(X, y, STRATA, within=True, draws=60, seed=3, confidence=0.8)
    np.testing.assert_allclose(found, np.quantile(values, [0.1, 0.9]))


def test_strata_keep_their_sizes() -> None:
    drawn = counts(STRATA, 500, 0)
    for k, size in enumerate((5, 7, 8)):
        assert (drawn[:, k == STRATA].sum(1) == size).all()
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.2)
    assert (drawn == 0).mean() == pytest.approx((1 - 1 / 7) ** 7, abs=0.03)
    assert not np.array_equal(drawn, counts(STRATA, 500, 1))
    assert np.array_equal(drawn[:50].shape, counts(STRATA, 50, 0).shape)


def test_intervals_cover_the_tau_of_the_population() -> None:
    """Gaussians of correlation c have tau = 2 arcsin(c) / pi. 100 intervals of 95 %: 86 or more cover it."""
    rng, c, covered = np.random.default_rng(1), 0.7, 0
    truth = 2 * math.asin(c) / math.pi
    for _ in range(100):
        x = rng.standard_normal(40)
        low, high = interval(x, c * x + math.sqrt(1 - c**2) * rng.standard_normal(40), draws=200)
        covered += low <= truth <= high
    assert 86 <= covered <= 99


def test_a_constant_quantity_has_no_interval() -> None:
    assert np.isnan(interval(X, 0 * X)).all()


@pytest.mark.parametrize(
    ("taus", "low", "high", "expected"),
    [
        ([0.7, 0.6], [0.5, 0.55], [0.8, 0.7], "interval"),
        ([-0.7, -0.6], [-0.9, -0.7], [-0.6, -0.5], "interval"),
        ([0.7, 0.6], [0.6, 0.4], [0.8, 0.7], "value"),
        ([-0.7, -0.5], [-0.9, -0.7], [-0.4, -0.3], "value"),
        ([0.7, 0.49], [0.6, 0.4], [0.8, 0.7], "no"),
        ([0.7, -0.7], [0.6, -0.8], [0.8, -0.6], "no"),
        ([0.7, np.nan], [0.6, np.nan], [0.8, np.nan], "no"),
    ],
)
def test_verdicts(taus, low, high, expected) -> None:
    assert verdict(np.array(taus), np.array(low), np.array(high)) == expected


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tau(X[:7], Y[:7]), "models must be at least 8 for a rank correlation, got 7"),
        (lambda: interval(X[:7], Y[:7]), "models must be at least 8 for a rank correlation, got 7"),
        (lambda: tau(X, Y[:8]), "values must be one for each model"),
        (lambda: tau(np.where(X > 3, np.nan, X), Y), "values must be numbers, got .* that are NaN"),
        (lambda: interval(X, Y, STRATA[:5]), "strata must be one for each model"),
        (lambda: interval(X, Y, draws=0), "draws must be an integer of at least 1, got 0"),
        (lambda: interval(X, Y, confidence=1.0), r"confidence must be in \(0, 1\), got 1.0"),
    ],
)
def test_bad_values_are_refused(call, words) -> None:
    with pytest.raises(UserError, match=words):
        call()
