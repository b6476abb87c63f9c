"""Memorization and influence scores by subsampling, and how large they are by chance.

    mem_i = P[h(x_i) = y_i | i in the training subset] - P[h(x_i) = y_i | i not in it]
    infl_ij: the same difference on test point j

are estimated from t models, each trained on a random subset of ratio r, by two matrix products. A score is the
difference of two means of coin flips, so its noise has a closed form. Source: Feldman 2020 and Feldman & Zhang 2020 for
the scores [S]; errors and null distribution derived here [D].
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Bool, Float

from cgro.base.arrays import as_array
from cgro.base.errors import AccuracyWarning, UserError
from cgro.base.validate import between, finite, integer


def memorization(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t n"]) -> Float[np.ndarray, " n"]:
    """mem_i: accuracy on sample i of the models trained with it, minus that of the models trained without it.

    NaN if there are no models of either kind. mask: whether model k was trained on sample i; correct: whether it
    classifies sample i correctly. Both may be bool, or 0 and 1 as integers or floats.

        >>> import cgro
        >>> trained_on = [[1, 0], [1, 1], [0, 1], [0, 0]]  # four models, two samples
        >>> correct = [[1, 1], [1, 1], [0, 1], [0, 1]]
        >>> cgro.memorization_scores(trained_on, correct).tolist()
        [1.0, 0.0]

    Raises: UserError for other values and types, different shapes, and no models or samples.
    Warns: AccuracyWarning if all models or none were trained on a sample.
    """
    mask, correct = _truths("mask", mask), _truths("correct", correct)
    if mask.shape != correct.shape:
        raise UserError(f"mask and correct must have one shape (models, samples), got {mask.shape} and {correct.shape}")
    inside, outside = _counts(mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (mask & correct).sum(axis=0) / inside - (~mask & correct).sum(axis=0) / outside


def influence(mask: Bool[np.ndarray, "t n"], correct: Bool[np.ndarray, "t m"]) -> Float[np.ndarray, "m n"]:
    """infl_ij at row j, column i: accuracy on test point j with training sample i, minus that without it.

        >>> import cgro
        >>> trained_on = [[1, 0], [1, 1], [0, 1], [0, 0]]  # four models, two training samples
        >>> correct = [[1], [1], [0], [0]]  # one test point
        >>> cgro.influence_scores(trained_on, correct).tolist()
        [[1.0, 0.0]]

    mask and correct are as in `memorization`, with correct for test points; so are NaN, errors and warnings. Also
    raises UserError for different numbers of models.
    """
    mask, correct = _truths("mask", mask), _truths("correct", correct)
    if len(mask) != len(correct):
        raise UserError(f"mask and correct must be of the same models, got {len(mask)} and {len(correct)}")
    _counts(mask)
    M, C = mask.astype(float), correct.astype(float)
    inside = M.sum(axis=0)
    with_i = C.T @ M
    with np.errstate(divide="ignore", invalid="ignore"):
        return with_i / inside - (C.sum(axis=0)[:, None] - with_i) / (len(M) - inside)


def standard_error(probability: float, models: int, ratio: float) -> float:
    """Standard error of a score if accuracy is `probability` with and without the sample: sqrt(p (1-p) / (t r (1-r))).

    Exactly t r models have the sample. Raises: UserError for a probability or ratio out of range.
    """
    between("probability", probability, 0, 1)
    between("ratio", ratio, 0, 1, open_low=True, open_high=True)
    integer("models", models, low=1)
    return math.sqrt(probability * (1 - probability) / (models * ratio * (1 - ratio)))


def exceeds_by_chance(threshold: float, probability: float, models: int, ratio: float) -> float:
    """P[an influence entry > threshold] if the sample has no influence, exactly: two independent binomials.

    round(t r) models have the sample, the others do not. Raises: UserError like `standard_error`.
    """
    standard_error(probability, models, ratio)
    finite("threshold", threshold)
    a = round(models * ratio)
    b = models - a
    if not 0 < a < models:
        raise UserError(f"{models} models at ratio {ratio:g}: none with or none without the sample; train more")
    x = np.arange(a + 1)
    # Successes without the sample must be strictly below b (x / a - threshold).
    limit = np.ceil(b * (x / a - threshold) - 1e-9) - 1
    return float(scipy.stats.binom.pmf(x, a, probability) @ scipy.stats.binom.cdf(limit, b, probability))


def largest_by_chance(threshold: float, probability: float, models: int, ratio: float, candidates: int) -> float:
    """P[the largest of `candidates` entries > threshold] without any influence, treating entries as independent.

    They are weakly dependent, since they share the correctness of one test point.
    """
    integer("candidates", candidates, low=1)
    one = exceeds_by_chance(threshold, probability, models, ratio)
    return 1.0 if one >= 1 else -math.expm1(candidates * math.log1p(-one))


def _truths(name: str, values: Any) -> Bool[np.ndarray, "t k"]:
    """The values as bool, if each is true or false, 0 or 1; `~` does not negate integers."""
    given = as_array(name, values)
    if given.dtype.kind not in "biuf":
        raise UserError(f"{name} must hold true and false, or 0 and 1 for each model, got {given.dtype}; convert it")
    odd = given[(given != 0) & (given != 1)] if given.dtype != bool else given[:0]
    if odd.size:
        raise UserError(f"{name} must hold true and false, or 0 and 1 for each model, got {odd.flat[0]}; convert it")
    if given.ndim != 2 or not given.size:
        raise UserError(f"{name} must have shape (models, samples), 1 or more of both, got {given.shape}")
    return given.astype(bool)


def _counts(mask: Bool[np.ndarray, "t n"]) -> tuple[np.ndarray, np.ndarray]:
    """Number of models trained with each sample and without it, both (n,)."""
    inside, outside = mask.sum(axis=0), (~mask).sum(axis=0)
    alone = np.flatnonzero((inside == 0) | (outside == 0))
    if len(alone):
        warnings.warn(
            f"{len(alone)} of {mask.shape[1]} samples, the first is {alone[0]}, were in the training subset of all "
            f"{len(mask)} models or of none: their scores are NaN; train more models",
            AccuracyWarning,
            stacklevel=3,
        )
    return inside, outside
