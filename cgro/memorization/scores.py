"""Memorization and influence scores by subsampling, and how far noise alone moves them.

    mem_i = P[h(x_i) = y_i | i in the training subset] - P[h(x_i) = y_i | i not in it]
    infl_ij: the same difference on test point j

are estimated from t models, each trained on a random subset of ratio r: two matrix products. Scores are differences
of two means of coin flips, so their noise has a closed form. Source: Feldman 2020 and Feldman & Zhang 2020 for the
scores [S]; errors and null law derived here [D].
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Bool, Float

from cgro.errors import UserError


def memorization(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t n"]) -> Float[np.ndarray, " n"]:
    """mem_i: accuracy on sample i of models trained with it, less that of models trained without it; NaN without one
    kind.

    mask: whether model k was trained on sample i; correct: whether it classifies sample i correctly.

    Raises: UserError for shapes that differ.
    """
    _require(mask, correct)
    inside, outside = mask.sum(axis=0), (~mask).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (mask & correct).sum(axis=0) / inside - (~mask & correct).sum(axis=0) / outside


def influence(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t m"]) -> Float[np.ndarray, "m n"]:
    """infl_ij at row j, column i: accuracy on test point j with training sample i less without; NaN without one kind.

    Raises: UserError for numbers of models that differ.
    """
    if len(mask) != len(correct):
        raise UserError(f"masks of {len(mask)} models, correctness of {len(correct)}: give both for the same models")
    M, C = mask.astype(float), correct.astype(float)
    inside = M.sum(axis=0)
    with_i = C.T @ M
    with np.errstate(divide="ignore", invalid="ignore"):
        return with_i / inside - (C.sum(axis=0)[:, None] - with_i) / (len(M) - inside)


def standard_error(probability: float, models: int, ratio: float) -> float:
    """Of a score whose accuracy is `probability` with and without the sample: sqrt(p (1-p) / (t r (1-r))).

    For subsets of exactly t r and t (1-r) models. Raises: UserError for a probability or ratio out of range.
    """
    if not (0 <= probability <= 1 and 0 < ratio < 1 and models >= 1):
        raise UserError(
            f"probability {probability:g}, ratio {ratio:g}, {models} models: need [0, 1], (0, 1) and 1 or more"
        )
    return math.sqrt(probability * (1 - probability) / (models * ratio * (1 - ratio)))


def exceeds_by_chance(threshold: float, probability: float, models: int, ratio: float) -> float:
    """P[an influence entry > threshold] when the sample has no influence, exactly: two independent binomials.

    round(t r) models have the sample, the others do not. Raises: UserError as `standard_error`.
    """
    standard_error(probability, models, ratio)
    a = round(models * ratio)
    b = models - a
    if not 0 < a < models:
        raise UserError(f"{models} models at ratio {ratio:g}: none with or none without the sample; train more")
    x = np.arange(a + 1)
    # Successes without the sample below b (x / a - threshold), strictly.
    limit = np.ceil(b * (x / a - threshold) - 1e-9) - 1
    return float(scipy.stats.binom.pmf(x, a, probability) @ scipy.stats.binom.cdf(limit, b, probability))


def largest_by_chance(threshold: float, probability: float, models: int, ratio: float, candidates: int) -> float:
    """P[the largest of `candidates` entries > threshold] without any influence, as if entries were independent.

    They share the correctness of one test point, which makes them weakly dependent.
    """
    return -math.expm1(candidates * math.log1p(-exceeds_by_chance(threshold, probability, models, ratio)))


def _require(mask: np.ndarray, correct: np.ndarray) -> None:
    if mask.shape != correct.shape:
        raise UserError(f"mask has shape {mask.shape}, correctness {correct.shape}: both are (models, samples)")
