"""Power laws fitted on log-log axes, with confidence intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are imported when first used
from jaxtyping import Float

from cgro.base.arrays import real_array
from cgro.base.errors import UserError
from cgro.base.validate import between


@dataclass(frozen=True)
class PowerLaw:
    """y ~ factor * x^exponent; for joint laws, y ~ factor * product of x^exponent."""

    exponent: float
    low: float
    high: float
    """low, high: confidence interval of the exponent."""
    factor: float


def power_law(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], confidence: float = 0.95) -> PowerLaw:
    """Least squares of log y against log x, with a Student interval for independent errors of equal variance in log y.

    Raises: UserError for fewer than three points or two different x, values that are not positive and finite,
    different shapes, and a confidence outside (0, 1).
    """
    x, y = real_array("x", x), real_array("y", y)
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    if x.ndim != 1 or x.shape != y.shape:
        raise UserError(f"x and y must have one shape (n,), got {x.shape} and {y.shape}")
    if not (np.isfinite(x) & np.isfinite(y) & (x > 0) & (y > 0)).all() or len(x) < 3 or len(np.unique(x)) < 2:
        raise UserError(
            "points must be at least 3 at 2 different x, positive and finite, got "
            f"{len(x)} at {len(np.unique(x))} different x"
        )
    fit = scipy.stats.linregress(np.log(x), np.log(y))
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, len(x) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return PowerLaw(slope, slope - reach, slope + reach, float(np.exp(fit.intercept)))


def joint_power_law(
    x: Mapping[str, Float[np.ndarray, " n"]], y: Float[np.ndarray, " n"], confidence: float = 0.95
) -> dict[str, PowerLaw]:
    """Least squares of log y against the logarithms of several variables; one law per variable, with a common factor.

    Intervals are Student's, for independent errors of equal variance in log y.

    Raises: ValueError for values that are not positive, and for points that are too few or do not separate the
        variables.
    """
    columns = [np.asarray(values, dtype=float) for values in x.values()]
    y = np.asarray(y, dtype=float)
    if not all((values > 0).all() for values in (*columns, y)):
        raise ValueError("values that are not positive have no logarithm")
    design = np.column_stack([np.ones(len(y)), *(np.log(values) for values in columns)])
    freedom = len(y) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"{len(y)} points do not determine {len(columns)} exponents and a factor, with their errors")
    slopes, _, _, _ = np.linalg.lstsq(design, np.log(y), rcond=None)
    residual = np.log(y) - design @ slopes
    variance = np.diag(np.linalg.inv(design.T @ design)) * float(residual @ residual) / freedom
    reach = float(scipy.stats.t.ppf((1 + confidence) / 2, freedom)) * np.sqrt(variance)
    factor = float(np.exp(slopes[0]))
    return {
        name: PowerLaw(float(slope), float(slope - width), float(slope + width), factor)
        for name, slope, width in zip(x, slopes[1:], reach[1:], strict=True)
    }
