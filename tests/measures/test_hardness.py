"""Hard images: tau and AUC against their definitions, and which images are left out; means and verdicts over seeds."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats

from cgro.base.errors import UserError
from cgro.base.randomness import at, spawn_streams
from cgro.measures.hardness import detection, detection_interval, hardest, random_like, rank_agreement
from cgro.plots.words import mean_interval, sign_verdict

RNG = np.random.default_rng(0)


def tau_b(x: np.ndarray, y: np.ndarray) -> float:
    """(concordant - discordant pairs) / sqrt(pairs without a tie in x * pairs without a tie in y)."""
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    untied = [sum(pair[k] != 0 for pair in signs) for k in (0, 1)]
    return float(sum(a * b for a, b in signs) / np.sqrt(untied[0] * untied[1]))


def test_rank_agreement_is_tau_b_with_ties() -> None:
    for _ in range(5):
        x, y = RNG.integers(0, 6, (2, 25)).astype(float)
        assert rank_agreement(x, y) == pytest.approx(tau_b(x, y))
    line = np.arange(9.0)
    assert rank_agreement(line, line**3) == pytest.approx(1)
    assert rank_agreement(line, -line) == pytest.approx(-1)
    assert np.isnan(rank_agreement(line, np.ones(9)))


@pytest.mark.parametrize("shapes", [((3,), (4,)), ((1,), (1,)), ((2, 2), (2, 2))])
def test_losses_of_different_images_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(UserError, match="losses must be of the same two or more images, got"):
        rank_agreement(*(np.ones(shape) for shape in shapes))  # type: ignore[arg-type]


def test_detection_is_the_chance_that_a_wrong_label_has_the_larger_loss() -> None:
    losses, wrong = RNG.integers(0, 8, 40).astype(float), RNG.random(40) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a, b in product(losses[wrong], losses[~wrong])]
    assert detection(losses, wrong) == pytest.approx(np.mean(pairs))
    assert detection(np.array([1.0, 2, 3, 4]), np.array([False, False, True, True])) == 1
    for one_kind in (np.zeros(40, bool), np.ones(40, bool)):
        assert np.isnan(detection(losses, one_kind))


def test_the_hardest_are_chosen_among_those_given_and_the_first_of_equal_ones() -> None:
    losses = np.array([0.5, 3, 2, 3, 9, 2])
    among = np.array([True, True, True, True, False, True])
    assert np.flatnonzero(hardest(losses, 3, among)).tolist() == [1, 2, 3]
    assert np.flatnonzero(hardest(losses, 1, among)).tolist() == [1]
    assert not hardest(losses, 0, among).any()
    with pytest.raises(UserError, match="count must be 0 to 5, the images to choose from, got 6"):
        hardest(losses, 6, among)


def test_random_images_are_of_the_same_classes() -> None:
    labels, among, losses = RNG.integers(0, 4, 80), RNG.random(80) < 0.7, RNG.random(80)
    stream = spawn_streams(0)["subset"]
    few, many = (hardest(losses, count, among) for count in (10, 30))
    drawn = {count: random_like(like, labels, among, stream) for count, like in ((10, few), (30, many))}
    for like, found in ((few, drawn[10]), (many, drawn[30])):
        assert np.bincount(labels[found], minlength=4).tolist() == np.bincount(labels[like], minlength=4).tolist()
        assert among[found].all()
        assert (found != like).any()
    assert drawn[30][drawn[10]].all()  # nested
    assert (random_like(many, labels, among, at(stream, 1)) != drawn[30]).any()


def test_random_images_are_drawn_evenly() -> None:
    """Each of 6 images of a class is one of 2 drawn in a third of 600 draws, up to 5 standard deviations."""
    labels, chosen = np.repeat([0, 1], 6), np.zeros(12, bool)
    chosen[[0, 3]] = True
    stream = spawn_streams(3)["subset"]
    counts = sum(random_like(chosen, labels, np.ones(12, bool), at(stream, k)).astype(int) for k in range(600))
    assert abs(counts[:6] - 200).max() < 5 * np.sqrt(600 * 2 / 9)
    assert counts[6:].tolist() == [0] * 6


def test_intervals_and_verdicts_over_seeds() -> None:
    mean, half = mean_interval(np.array([10.0, 11, 12]))
    assert (mean, half) == (11, pytest.approx(4.302653 / np.sqrt(3)))
    assert np.isnan(mean_interval(np.array([1.0]))[1])
    assert [sign_verdict(np.array(values)) for values in ([1, 1.1, 1.2], [-1, -1.1, -1.2], [1, -1, 0.5], [1, 2])] == [
        "yes", "no", "undecided", "needs 3 seeds",
    ]  # fmt: skip


def test_the_interval_of_an_area_is_that_of_its_placements() -> None:
    """DeLong's variance by the definition, pair by pair, with ties."""
    losses, wrong = np.array([0.0, 1, 1, 2, 3, 3, 1, 4]), np.array([0, 0, 0, 0, 0, 1, 1, 1], dtype=bool)
    pairs = (np.sign(losses[wrong][:, None] - losses[~wrong]) + 1) / 2
    area, low, high = detection_interval(losses, wrong)
    assert area == pytest.approx(pairs.mean()) == detection(losses, wrong)
    error = np.sqrt(pairs.mean(1).var(ddof=1) / 3 + pairs.mean(0).var(ddof=1) / 5)
    reach = 1.959964 * error / (area * (1 - area))
    ends = [1 / (1 + np.exp(-(np.log(area / (1 - area)) + sign * reach))) for sign in (-1, 1)]
    np.testing.assert_allclose([low, high], ends, rtol=1e-5)


def test_intervals_of_an_area_cover_it() -> None:
    """Normal losses one standard deviation apart have an area of Phi(1 / sqrt 2)."""
    rng, true = np.random.default_rng(0), scipy.stats.norm.cdf(1 / np.sqrt(2))
    wrong = np.repeat([True, False], [25, 75])
    covered = 0
    for _ in range(400):
        _, low, high = detection_interval(rng.normal(wrong.astype(float)), wrong)
        covered += low <= true <= high
    assert covered >= 370  # 380 are expected, with a standard deviation of 4.4


def test_areas_that_tell_nothing_have_no_interval() -> None:
    losses = np.arange(6.0)
    assert np.isnan(detection_interval(losses, np.zeros(6, dtype=bool))).all()
    assert detection_interval(losses, losses > 2) == (1.0, 0.0, 1.0)
    assert detection_interval(losses, losses == 2)[1:] == (0.0, 1.0)
    with pytest.raises(UserError, match=r"confidence must be in \(0, 1\), got 1"):
        detection_interval(losses, losses > 2, 1.0)
