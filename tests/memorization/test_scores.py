"""Memorization and influence scores: their definition, their noise, and their values under chance alone."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cgro.base.errors import AccuracyWarning, UserError
from cgro.memorization.chance import (
    exceeds_by_chance,
    largest_by_chance,
    largest_of_random_subsets,
    models_needed,
    standard_error,
    threshold_by_chance,
)
from cgro.memorization.scores import (
    influence,
    influence_blocks,
    interval,
    memorization,
    split_half,
    standard_errors,
)


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


def test_entries_of_one_point_depend_on_each_other_through_its_outcomes() -> None:
    """One candidate: no dependence. Many: rarer than for independent entries of the same law."""
    one = largest_of_random_subsets(0.15, 0.5, 60, 0.7, 1)
    many = largest_of_random_subsets(0.15, 0.5, 60, 0.7, 20)
    assert one < many < 1 - (1 - one) ** 20
    assert largest_of_random_subsets(1.0, 0.5, 10, 0.7, 5) == 0
    assert largest_of_random_subsets(-2.0, 0.5, 40, 0.5, 5) == pytest.approx(1, abs=1e-9)
    # An entry of exactly 0.15, 3/4 - 3/5, is not above 0.15, whatever the rounding of the quotients.
    at, above, below = (largest_of_random_subsets(0.15 + move, 0.5, 400, 0.7, 200) for move in (0, 1e-9, -1e-9))
    assert at == above < below - 1e-3
    with pytest.raises(UserError, match="ratio"):
        largest_of_random_subsets(0.15, 0.5, 60, 0.0, 1)


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


def subsets(generator: np.random.Generator, models: int, samples: int, size: int) -> np.ndarray:
    """Masks of random subsets of exactly `size` samples."""
    return np.argsort(generator.random((models, samples)), axis=1) < size


def mixture(generator: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of a frequent and several rare clusters each, and a tenth of the labels wrong."""
    cluster = generator.choice(8, samples, p=[0.35, 0.35, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])
    centres = np.random.default_rng(0).normal(size=(8, 5)) * 2
    labels = np.where(generator.random(samples) < 0.1, 1 - cluster % 2, cluster % 2)
    return centres[cluster] + 0.5 * generator.normal(size=(samples, 5)), labels


def nearest_neighbour(x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """Memorization by the classifier of the nearest training sample, exactly, for training sets of `size` samples.

    With the sample it is always right. Without it, the j-th nearest of the n - 1 others is the nearest in the training
    set with probability C(n - 1 - j, size - 1) / C(n - 1, size).
    """
    n, found = len(x), []
    chances = np.array([comb(n - 1 - j, size - 1) / comb(n - 1, size) for j in range(1, n)])
    for i in range(n):
        others = np.delete(np.arange(n), i)
        order = others[np.argsort(((x[others] - x[i]) ** 2).sum(axis=1))]
        found.append(1 - chances @ (y[order] == y[i]))
    return np.array(found)


@pytest.mark.parametrize("models", [60, 400])
def test_the_estimate_is_within_three_errors_of_the_exact_score(models: int) -> None:
    """Of at least 95 % of 200 samples of a mixture, and the intervals cover at least 90 %."""
    generator = np.random.default_rng(models)
    x, y = mixture(generator, 200)
    exact, mask = nearest_neighbour(x, y, 140), subsets(generator, models, 200, 140)
    nearest = np.argsort(((x[:, None] - x[None]) ** 2).sum(axis=2), axis=1)
    first = np.argmax(mask[:, nearest], axis=2)  # of each model and sample, the place of its nearest training sample
    correct = y[nearest[np.arange(200), first]] == y
    found, errors = memorization(mask, correct), standard_errors(mask, correct)
    assert exact.std() > 0.2
    assert (np.abs(found - exact) <= 3 * errors).mean() >= 0.95
    low, high = interval(mask, correct)
    assert ((low <= exact) & (exact <= high)).mean() >= 0.9
    # Errors are not only large enough but of the right size.
    assert 0.5 < np.sqrt(np.mean((found - exact) ** 2) / np.mean(errors**2)) < 1.2


def test_the_estimate_is_that_of_retraining_without_the_sample() -> None:
    """Ridge regression on 60 samples: each sample is left out of 1,000 training sets, and the model is fitted anew."""
    generator = np.random.default_rng(3)
    x, y = mixture(generator, 60)
    x = np.hstack([x, np.ones((60, 1)), x[:, :2] ** 2])

    def right(mask: np.ndarray) -> np.ndarray:
        weights = mask.astype(float)
        gram = np.einsum("ki,ia,ib->kab", weights, x, x) + 0.1 * np.eye(x.shape[1])
        fitted = np.linalg.solve(gram, np.einsum("ki,ia,i->ka", weights, x, 2.0 * y - 1)[..., None])[..., 0]
        return (fitted @ x.T > 0) == (y == 1)

    sizes, samples = 42, np.arange(60)
    with_it = subsets(generator, 1000, 60, sizes)
    exact = np.empty(60)
    for i in samples:
        mask = with_it.copy()
        swapped = mask[:, i].copy()
        # The sample takes the place of a random member, and gives it back.
        place = np.argmax(generator.random(mask.shape) * (mask & (samples != i)), axis=1)
        mask[~swapped, i], mask[np.flatnonzero(~swapped), place[~swapped]] = True, False
        other = np.argmax(generator.random(mask.shape) * ~mask, axis=1)
        without = mask.copy()
        without[:, i], without[np.arange(1000), other] = False, True
        assert (mask.sum(axis=1) == sizes).all()
        assert (without.sum(axis=1) == sizes).all()
        exact[i] = (right(mask)[:, i].astype(float) - right(without)[:, i]).mean()
    mask = subsets(generator, 200, 60, sizes)
    correct = right(mask)
    assert exact.std() > 0.05
    assert (np.abs(memorization(mask, correct) - exact) <= 3 * standard_errors(mask, correct)).mean() >= 0.95


def test_errors_and_intervals_are_never_empty() -> None:
    """Where all models are right; the numbers are those of the formula of Agresti and Caffo, by hand."""
    mask = np.array([[1]] * 7 + [[0]] * 3)
    correct = np.ones_like(mask)
    p, q = 8 / 9, 4 / 5
    error = np.sqrt(p * (1 - p) / 9 + q * (1 - q) / 5)
    assert standard_errors(mask, correct)[0] == pytest.approx(error)
    low, high = interval(mask, correct, 0.9)
    assert (low[0], high[0]) == pytest.approx((p - q - 1.6448536 * error, p - q + 1.6448536 * error))
    with pytest.warns(AccuracyWarning, match="1 of 2 samples"):
        assert np.isnan(standard_errors(np.array([[1, 1], [1, 0]]), np.ones((2, 2)))).tolist() == [True, False]


def test_blocks_are_the_rows_of_the_whole_matrix() -> None:
    mask, correct = drawn(4, 50, 30, 41)
    whole = influence(mask, correct)
    blocks = list(influence_blocks(mask, correct, memory=40 * 30 * 7))
    assert [rows.stop - rows.start for rows, _ in blocks] == [7, 7, 7, 7, 7, 6]
    np.testing.assert_array_equal(np.vstack([block for _, block in blocks]), whole)


def test_reliability_is_the_correlation_of_halves() -> None:
    """Scores without noise agree; scores that are noise alone do not; in between, all models predict their repetition.

    With accuracies p = .9 in and q_i out, a second set of models gives the correlation that `full` promises.
    """
    generator = np.random.default_rng(5)
    mask = subsets(generator, 100, 300, 70)
    exact = split_half(mask, mask | (np.arange(300) % 2 == 0))
    assert (exact.pearson, exact.spearman, exact.full, exact.samples) == pytest.approx((1, 1, 1, 300))
    noise = split_half(mask, generator.random(mask.shape) < 0.5)
    assert abs(noise.pearson) < 0.1

    q = generator.random(300)

    def correct(m: np.ndarray) -> np.ndarray:
        return generator.random(m.shape) < np.where(m, 0.9, q)

    again = subsets(generator, 100, 300, 70)
    first, second = correct(mask), correct(again)
    repeated = float(np.corrcoef(memorization(mask, first), memorization(again, second))[0, 1])
    found = split_half(mask, first)
    assert found.pearson < found.full
    assert found.full == pytest.approx(repeated, abs=0.02)
    assert np.isnan(split_half(mask, np.ones_like(mask)).pearson)


@pytest.mark.parametrize(("probability", "models", "ratio", "candidates"), [(0.9, 100, 0.7, 200), (0.5, 40, 0.5, 10)])
def test_the_threshold_is_the_smallest_that_chance_rarely_exceeds(
    probability: float, models: int, ratio: float, candidates: int
) -> None:
    threshold = threshold_by_chance(0.05, probability, models, ratio, candidates)
    assert largest_by_chance(threshold, probability, models, ratio, candidates) <= 0.05
    assert largest_by_chance(threshold - 2e-4, probability, models, ratio, candidates) > 0.05


def test_fewer_models_than_needed_do_not_suffice() -> None:
    needed = models_needed(0.15, 0.05, 0.9, 0.7, 200)
    assert all(largest_by_chance(0.15, 0.9, needed + k, 0.7, 200) <= 0.05 for k in (0, 10, 100, 500))
    assert largest_by_chance(0.15, 0.9, round(0.95 * needed), 0.7, 200) > 0.05


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
        (lambda: standard_errors(np.ones((2, 3), bool), np.ones((2, 4), bool)), "must have one shape"),
        (lambda: interval(np.ones((2, 3), bool), np.ones((2, 3), bool), 1.0), "confidence must be in (0, 1), got 1.0"),
        (lambda: next(influence_blocks(np.eye(2), np.eye(2), 0)), "memory must be greater than 0, got 0"),
        (lambda: split_half(np.eye(3), np.eye(3)), "models must be an integer of at least 4, got 3"),
        (lambda: split_half(np.ones((8, 5)), np.ones((8, 5))), "0 samples have a score in both halves of 8 models"),
        (lambda: split_half(np.eye(8), np.eye(8), splits=0), "splits must be an integer of at least 1"),
        (lambda: threshold_by_chance(0.0, 0.5, 10, 0.7, 5), "chance must be in (0, 1), got 0.0"),
        (lambda: models_needed(0.0, 0.05, 0.5, 0.7, 5), "threshold must be in (0, 1], got 0.0"),
        (lambda: models_needed(1e-4, 0.05, 0.5, 0.7, 5), "threshold must be larger, got 0.0001"),
        (lambda: influence(np.ones((0, 2), bool), np.ones((0, 2), bool)), "1 or more of both, got (0, 2)"),
    ],
)
def test_bad_input_is_reported_in_one_line(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
