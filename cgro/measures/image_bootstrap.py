"""How far a mean over test images would move with other test images: a bootstrap interval over images.

    mean = sum_si c_si v_si / sum_si c_si    over seeds s and images i, c_si whether image i counts with seed s

The same images judge every seed, so that an image is drawn with all its seeds: values of one image under several seeds
are not independent. Of differences of two methods the interval is paired. Seeds are not drawn: how much networks differ
is what an interval over seeds says. Source: Efron & Tibshirani, "An introduction to the bootstrap", 1993 (percentile
intervals).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from cgro.base.errors import UserError
from cgro.base.validate import between, integer
from cgro.measures.rank_correlation import counts


def image_interval(
    values: Float[np.ndarray, "seeds n"],
    counted: Bool[np.ndarray, "seeds n"] | None = None,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over the images that are counted; None: all.

    Images are drawn with replacement, as many as there are. Draws depend on the number of images and the seed alone.
    Draws in which no image counts are left out; NaN if none is left.

    Raises: UserError for values and `counted` of different shapes, values that are not finite, and draws, a confidence
    or a seed out of range.
    """
    counted = np.ones(values.shape, dtype=bool) if counted is None else counted
    if values.ndim != 2 or values.shape != counted.shape:
        raise UserError(f"values and counted must be (seeds, images), got {values.shape} and {counted.shape}")
    if not np.isfinite(values).all():
        raise UserError("values must be finite")
    integer("draws", draws, low=1)
    integer("seed", seed, low=0)
    between("confidence", confidence, 0, 1, open_low=True, open_high=True)
    drawn = counts(np.zeros(values.shape[1], dtype=int), draws, seed)
    total, size = drawn @ np.where(counted, values, 0).sum(0), drawn @ counted.sum(0)
    if not (size > 0).any():
        return np.nan, np.nan
    means = total[size > 0] / size[size > 0]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
