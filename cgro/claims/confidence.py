"""Confidence intervals without normal approximations."""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float

from cgro.base.errors import UserError


def proportion_interval(successes: int, trials: int, confidence: float = 0.99) -> tuple[float, float]:
    """The exact (Clopper & Pearson) interval of a probability, two-sided.

    Raises: UserError for a confidence outside (0, 1); ValueError for invalid counts.
    """
    _require(confidence)
    interval = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def median_interval(values: Float[np.ndarray, " n"], confidence: float = 0.99) -> tuple[float, float]:
    """Two-sided interval for the median of independent values, valid for every law: order statistics.

    The k-th smallest and the k-th largest value, with the largest k such that 2 P[Bin(n, 1/2) < k] <= 1 - confidence;
    the whole line if there are too few values (fewer than 8 at 0.99).

    Raises: UserError for a confidence outside (0, 1).
    """
    _require(confidence)
    x = np.sort(np.asarray(values, dtype=float))
    k = int(scipy.stats.binom.ppf((1 - confidence) / 2, len(x), 0.5))
    # The quantile is the first with at least that probability: one less stays below it, unless it is attained exactly.
    if 2 * scipy.stats.binom.cdf(k, len(x), 0.5) <= 1 - confidence:
        k += 1
    return (float(x[k - 1]), float(x[-k])) if k >= 1 else (-math.inf, math.inf)


def _require(value: float) -> None:
    if not 0 < value < 1:
        raise UserError(f"probability must be between 0 and 1, got {value:g}")
