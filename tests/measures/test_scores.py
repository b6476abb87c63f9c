"""Memorization and influence scores: their definition, their noise, and their values under chance alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgro.base.errors import AccuracyWarning, UserError
from cgro.measures.scores import exceeds_by_chance, influence, largest_by_chance, memorization, standard_error


def drawn(seed: int, models: int, samples: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.random((models, samples)) < 0.7, generator.random((models, points)) < 0.6


@given(st.integers(0, 50))
def test_scores_are_differences_of_means(seed: int) -> None:
    mask, correct = drawn(seed, 30, 4, 3)
    found = influence(mask, correct)
    for j in range(3):
        for i in range(4):
            inside, outside = correct[mask[:, i], j], correct[~mask[:, i], j]
            if len(inside) and len(outside):
                assert found[j, i] == pytest.approx(inside.mean() - outside.mean())
    own, right = drawn(seed, 30, 3, 3)
    np.testing.assert_allclose(memorization(own, right), np.diag(influence(own, right)), rtol=1e-12)


def test_a_perfectly_memorized_sample_scores_one() -> None:
    mask = np.array([[True], [True], [False], [False]])
    assert memorization(mask, mask)[0] == 1
    assert memorization(mask, ~mask)[0] == -1


def test_a_sample_in_every_subset_has_no_score() -> None:
    mask = np.ones((5, 1), dtype=bool)
    assert np.isnan(memorization(mask, mask)).all()
    assert np.isnan(influence(mask, mask)).all()


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int8, np.float32, np.float64, bool, list])
def test_zeros_and_ones_of_any_type_are_true_and_false(kind) -> None:  # type: ignore[no-untyped-def]
    mask, correct = drawn(0, 30, 4, 4)
    given = [a.astype(int).tolist() if kind is list else a.astype(kind) for a in (mask, correct)]
    np.testing.assert_array_equal(memorization(*given), memorization(mask, correct))
    np.testing.assert_array_equal(influence(*given), influence(mask, correct))
    assert np.abs(memorization(*given)).max() <= 1


def test_samples_without_a_score_are_reported() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    for scores in (memorization, influence):
        with pytest.warns(AccuracyWarning, match="2 of 3 samples, the first is 0"):
            found = scores(mask, mask)
        assert np.isnan(np.atleast_2d(found)[0]).tolist() == [True, False, True]


def test_certain_excess_is_certain() -> None:
    assert largest_by_chance(-2.0, 0.5, 10, 0.7, 5) == 1


def test_the_standard_error_is_that_of_simulated_scores() -> None:
    """4,000 scores: the ratio of standard deviations lies within 5 % with probability above 0.9999."""
    generator = np.random.default_rng(0)
    t, r, p = 100, 0.7, 0.8
    mask = np.argsort(generator.random((t, 4000)), axis=0) < 70
    scores = memorization(mask, generator.random((t, 4000)) < p)
    assert scores.std() == pytest.approx(standard_error(p, t, r), rel=0.05)
    assert standard_error(0.5, 100, 0.7) == pytest.approx(0.10911, abs=1e-5)


def test_chance_of_one_entry_is_exact() -> None:
    # Two models with the sample, two without, p = 1/2: x/2 - y/2 > 0.4 for (1,0), (2,0), (2,1).
    assert exceeds_by_chance(0.4, 0.5, 4, 0.5) == pytest.approx((2 * 1 + 1 * 1 + 1 * 2) / 16)
    # Strictly above: a difference of exactly 0.5 does not count.
    assert exceeds_by_chance(0.5, 0.5, 4, 0.5) == pytest.approx(1 / 16)
    assert exceeds_by_chance(1.0, 0.5, 4, 0.5) == 0


def test_chance_of_one_entry_is_that_of_simulation() -> None:
    """200,000 entries: five standard errors."""
    generator = np.random.default_rng(1)
    x, y = generator.binomial(70, 0.9, 200_000) / 70, generator.binomial(30, 0.9, 200_000) / 30
    share, chance = float((x - y > 0.15).mean()), exceeds_by_chance(0.15, 0.9, 100, 0.7)
    assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 200_000)


@given(st.integers(1, 300))
def test_more_candidates_exceed_more_often(candidates: int) -> None:
    one = exceeds_by_chance(0.15, 0.9, 200, 0.7)
    many = largest_by_chance(0.15, 0.9, 200, 0.7, candidates)
    assert one - 1e-12 <= many <= min(1.0, candidates * one) + 1e-12


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: memorization(np.ones((2, 3), bool), np.ones((2, 4), bool)),
            "must have one shape",
        ),
        (lambda: influence(np.ones((2, 3), bool), np.ones((3, 4), bool)), "must be of the same models, got 2"),
        (lambda: standard_error(1.5, 10, 0.7), "probability must be in [0, 1], got 1.5"),
        (lambda: standard_error(0.5, 10, 1.0), "ratio must be in (0, 1), got 1.0"),
        (lambda: exceeds_by_chance(0.1, 0.5, 1, 0.7), "none with or none without"),
        (lambda: standard_error(float("nan"), 10, 0.7), "probability must be finite"),
        (lambda: standard_error(0.5, 2.5, 0.7), "models must be an integer"),
        (lambda: exceeds_by_chance(float("nan"), 0.5, 10, 0.7), "threshold must be finite"),
        (lambda: largest_by_chance(0.1, 0.5, 10, 0.7, 0), "candidates must be an integer of at least 1, got 0"),
        (lambda: memorization(np.array([[0, 2]]), np.array([[0, 1]])), "mask must hold true and false, or 0 and 1"),
        (lambda: memorization(np.array([[0, 1]]), np.array([[0, -1]])), "correct must hold"),
        (lambda: memorization(np.array([[0.0, np.nan]]), np.array([[0, 1]])), "got nan"),
        (lambda: influence(np.array([[0.5]]), np.array([[1]])), "got 0.5"),
        (lambda: influence(np.array([[1]]), np.array([["1"]])), "correct must hold"),
        (lambda: influence(np.array([1, 0]), np.array([[1], [0]])), "mask must have shape (models, samples)"),
        (lambda: influence(np.ones((0, 2), bool), np.ones((0, 2), bool)), "1 or more of both, got (0, 2)"),
    ],
)
def test_bad_input_is_reported_in_one_line(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
