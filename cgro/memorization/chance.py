"""How large memorization and influence scores are by chance alone, and the thresholds that follow.

A score is the difference of two means of coin flips, so its noise has a closed form. The largest influence of many
samples on a test point is large without any influence: below a thousand models a fixed threshold such as 0.15 means
little, and the thresholds here grow with the number of candidates. Derived here [D]; the estimator is that of
Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703 [S].
"""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts are imported when first used

from cgro.base.errors import UserError
from cgro.base.validate import between, finite, integer

MOST_MODELS = 1_000_000
"""Largest number of models that `models_needed` considers."""


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


def largest_of_random_subsets(
    threshold: float, probability: float, models: int, ratio: float, candidates: int
) -> float:
    """P[the largest of `candidates` entries > threshold] without any influence, if every model draws its own subset.

    Each sample is in a model's subset with probability r, independently. Given that s of the t models classify the test
    point correctly, entries are independent and identically distributed, and one entry is

        x / (x + y) - (s - x) / (t - x - y),   x ~ Bin(s, r) and y ~ Bin(t - s, r) independent,

    so the chance is the mean over s ~ Bin(t, p) of 1 - (1 - h(s))^n, with h(s) that of one entry. By Jensen's
    inequality it is at most 1 - (1 - E h)^n, that of independent entries. Values of s of probability below 1e-12 are
    left out.

    Returns: a probability. Raises: UserError like `standard_error`.
    Reference: derived here [D]; the estimator is that of Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703.
    """
    standard_error(probability, models, ratio)
    finite("threshold", threshold)
    integer("candidates", candidates, low=1)
    t, chances = models, scipy.stats.binom.pmf(np.arange(models + 1), models, probability)
    total = 0.0
    for s in np.flatnonzero(chances >= 1e-12):
        x, y = np.arange(s + 1)[:, None], np.arange(t - s + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Differences of these fractions are multiples of 1 / t^2: nothing lies between a tie and its rounding.
            above_it = x / (x + y) - (s - x) / (t - x - y) > threshold + 1e-12
        weights = scipy.stats.binom.pmf(x[:, 0], s, ratio), scipy.stats.binom.pmf(y, t - s, ratio)
        one = min(float(weights[0] @ above_it @ weights[1]), 1.0)
        total += chances[s] * (1.0 if one == 1 else -math.expm1(candidates * math.log1p(-one)))
    return float(total)


def threshold_by_chance(
    chance: float, probability: float, models: int, ratio: float, candidates: int, resolution: float = 1e-4
) -> float:
    """The smallest threshold that the largest of `candidates` scores exceeds with at most this chance if all are 0.

    Up to `resolution`, rounded up. Raises: UserError as `largest_by_chance`, and for a chance outside of (0, 1).
    """
    between("chance", chance, 0, 1, open_low=True, open_high=True)
    low, high = 0, math.ceil(1 / resolution)  # no difference of accuracies exceeds 1
    while high - low > 1:
        middle = (low + high) // 2
        likely = largest_by_chance(middle * resolution, probability, models, ratio, candidates)
        low, high = (low, middle) if likely <= chance else (middle, high)
    return high * resolution


def models_needed(threshold: float, chance: float, probability: float, ratio: float, candidates: int) -> int:
    """The number of models from which scores above `threshold` are rare by chance: at most `chance` for the largest.

    Since numbers of models are whole, the chance does not fall strictly; the number returned suffices, and so does
    every larger one that was tried, at steps of at most 1 %.

    Raises: UserError as `largest_by_chance`, for a threshold <= 0, and if a million models do not suffice.
    """
    between("threshold", threshold, 0, 1, open_low=True)
    between("chance", chance, 0, 1, open_low=True, open_high=True)
    largest_by_chance(threshold, probability, math.ceil(2 / min(ratio, 1 - ratio)), ratio, candidates)  # refuses
    # Scores are nearly normal; the search begins well below what follows from that.
    reach = scipy.special.ndtri(math.exp(math.log1p(-chance) / candidates))
    guess = probability * (1 - probability) / (ratio * (1 - ratio)) * (reach / threshold) ** 2
    models, enough = max(math.ceil(2 / min(ratio, 1 - ratio)), int(guess / 2)), 0
    while models <= MOST_MODELS:
        likely = largest_by_chance(threshold, probability, models, ratio, candidates)
        enough = (enough or models) if likely <= chance else 0
        if enough and models >= 1.2 * enough:
            return enough
        models += max(1, models // 100)
    raise UserError(f"threshold must be larger, got {threshold:g}: {MOST_MODELS:,} models do not tell it from chance")
