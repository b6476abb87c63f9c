"""The bootstrap interval over test images: known distributions, coverage, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cgro.base.errors import UserError
from cgro.measures.image_bootstrap import image_interval


def test_the_interval_of_one_seed_is_that_of_a_binomial_mean() -> None:
    """100 images of which 30 have value 1: the mean of a resample is binomial(100, 0.3) / 100."""
    values = np.zeros((1, 100))
    values[0, :30] = 1
    low, high = image_interval(values, draws=20_000)
    assert (low, high) == pytest.approx((0.21, 0.39), abs=0.011)  # quantiles 21 and 39 of binomial(100, 0.3)


def test_an_image_is_drawn_with_all_its_seeds() -> None:
    """Equal values under every seed say no more than one seed does."""
    values = np.random.default_rng(0).normal(size=(1, 80))
    assert image_interval(values.repeat(5, axis=0)) == pytest.approx(image_interval(values))
    apart = np.random.default_rng(0).normal(size=(5, 80))
    low, high = image_interval(apart)
    alone = image_interval(apart[:1])
    assert high - low < 0.6 * (alone[1] - alone[0])


def test_only_images_that_are_counted_enter() -> None:
    values = np.full((2, 40), 1000.0)
    counted = np.zeros((2, 40), dtype=bool)
    counted[0, :20], counted[1, 20:] = True, True
    values[counted] = 3.0
    assert image_interval(values, counted) == (3.0, 3.0)
    assert np.isnan(image_interval(values, np.zeros_like(counted))).all()


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    rng = np.random.default_rng(1)
    one = rng.random((3, 200)) < rng.random(200)
    other = one.copy()
    other[:, :6] = ~other[:, :6]
    low, high = image_interval(1.0 * one - other)
    apart = image_interval(1.0 * one - other[:, rng.permutation(200)])
    assert high - low < 0.5 * (apart[1] - apart[0])


def test_the_interval_covers_the_mean_of_the_population() -> None:
    """95 % intervals of 200 sets of 60 images, three seeds; at least 88 % is five standard errors below 0.95."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        images = rng.normal(size=60)
        low, high = image_interval(images + rng.normal(size=(3, 60)), draws=500)
        covered += low <= 0 <= high
    assert covered >= 176


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"counted": np.ones((2, 3), bool)}, r"\(seeds, images\), got \(2, 4\) and \(2, 3\)"),
        ({"values": np.full((2, 4), np.nan)}, "values must be finite"),
        ({"draws": 0}, "draws must be an integer of at least 1, got 0"),
        ({"confidence": 1.0}, "confidence"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"values": np.ones((2, 4)), "counted": None} | changes
    with pytest.raises(UserError, match=words):
        image_interval(arguments.pop("values"), arguments.pop("counted"), **arguments)
