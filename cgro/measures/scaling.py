"""Power laws fitted on log-log axes, with their confidence interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float


@dataclass(frozen=True)
class PowerLaw:
    """y ~ factor * x^exponent."""

    exponent: float
    low: float
    high: float
    """Ends of the confidence interval of the exponent."""
    factor: float


def power_law(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], confidence: float = 0.95) -> PowerLaw:
    """Least squares of log y against log x; the interval is Student's, for independent errors of equal size in log y.

    Raises: ValueError for fewer than three points, or fewer than two different x, or values that are not positive.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(x) < 3 or len(np.unique(x)) < 2 or not ((x > 0).all() and (y > 0).all()):
        raise ValueError(f"{len(x)} points at {len(np.unique(x))} different x: need 3 and 2, all of them positive")
    fit = scipy.stats.linregress(np.log(x), np.log(y))
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, len(x) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return PowerLaw(slope, slope - reach, slope + reach, float(np.exp(fit.intercept)))
