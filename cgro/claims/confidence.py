"""Confidence intervals without normal approximations, and the sample size that a verdict takes."""

from __future__ import annotations

import math

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float

from cgro.base.errors import UserError


def proportion_interval(successes: int, trials: int, confidence: float = 0.99) -> tuple[float, float]:
    """The exact (Clopper & Pearson) interval of a probability, two-sided.

    Raises: UserError for a confidence outside of (0, 1); ValueError for counts that are none.
    """
    _require(confidence)
    interval = scipy.stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def median_interval(values: Float[np.ndarray, " n"], confidence: float = 0.99) -> tuple[float, float]:
    """Interval of the median of independent values, two-sided, for every law: order statistics.

    The k-th smallest and the k-th largest value, k the largest with 2 P[Bin(n, 1/2) < k] <= 1 - confidence; the whole
    line for fewer values than that takes (8 at 0.99).

    Raises: UserError for a confidence outside of (0, 1).
    """
    _require(confidence)
    x = np.sort(np.asarray(values, dtype=float))
    k = int(scipy.stats.binom.ppf((1 - confidence) / 2, len(x), 0.5))
    # The quantile is the first with a probability of at least that: one less stays below it, unless it is met exactly.
    if 2 * scipy.stats.binom.cdf(k, len(x), 0.5) <= 1 - confidence:
        k += 1
    return (float(x[k - 1]), float(x[-k])) if k >= 1 else (-math.inf, math.inf)


def mean_interval(
    values: Float[np.ndarray, " n"], low: float, high: float, confidence: float = 0.99
) -> tuple[float, float]:
    """Interval of the mean of independent values in [low, high], n >= 2, two-sided, for every law (empirical
    Bernstein).

        |mean - E| <= sqrt(2 V log(4/a) / n) + 7 (high - low) log(4/a) / (3 (n - 1))

    with a = 1 - confidence and V the sample variance.

    Reference: Maurer & Pontil, COLT 2009, Theorem 4 (one-sided, with log(2/a)).

    Raises: UserError for fewer than two values, values out of range, a confidence outside of (0, 1).
    """
    _require(confidence)
    x = np.asarray(values, dtype=float)
    if len(x) < 2:
        raise UserError(f"{len(x)} values: an interval needs two or more; draw more")
    if not ((x >= low).all() and (x <= high).all()):
        raise UserError(f"values run from {x.min():g} to {x.max():g}: must lie in [{low:g}, {high:g}]; widen the range")
    log = math.log(4 / (1 - confidence))
    reach = math.sqrt(2 * float(x.var(ddof=1)) * log / len(x)) + 7 * (high - low) * log / (3 * (len(x) - 1))
    return max(low, float(x.mean()) - reach), min(high, float(x.mean()) + reach)


def trials_for(distance: float, confidence: float = 0.99, power: float = 0.99) -> int:
    """Trials after which a probability at `distance` from a bound is told from it, by Hoeffding, for every probability.

    n >= (sqrt(log(1/a)) + sqrt(log(1/b)))^2 / (2 distance^2), a = 1 - confidence, b = 1 - power. Raises: UserError
    for values outside of (0, 1).
    """
    for value in (distance, confidence, power):
        _require(value)
    root = math.sqrt(-math.log(1 - confidence)) + math.sqrt(-math.log(1 - power))
    return math.ceil((root / distance) ** 2 / 2)


def _require(value: float) -> None:
    if not 0 < value < 1:
        raise UserError(f"{value:g} must lie between 0 and 1, as a probability does; give another")
