"""Bounds that survive rounding: every result of float64 arithmetic is pushed outward by a bound of its error.

A sum of k products, added in any order and with or without fused multiply-adds, satisfies

    |fl(<w, x>) - <w, x>| <= gamma_k <|w|, |x|> + k TINY,     gamma_k = k u / (1 - k u),   u = 2^-53

where TINY, the smallest normal number, covers products that underflow, even where the processor flushes them to 0.
The magnitude <|w|, |x|> is itself computed, so callers ask for a few more units than they have operations.

Reference: Higham, "Accuracy and stability of numerical algorithms", SIAM 2002, section 3.1 [R].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import sparse

from cgro.base.norms import Norm
from cgro.networks.relu import Matrix

UNIT = 2.0**-53
TINY = float(np.finfo(np.float64).tiny)


def gamma(operations: int) -> float:
    """gamma_k for k `operations`, rounded up. Raises: OverflowError from 2^50 operations on, where it means nothing."""
    if operations >= 2**50:
        raise OverflowError(f"{operations} operations: no useful bound of their rounding error exists")
    return (operations + 1) * UNIT / (1 - (operations + 1) * UNIT)


def up(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """The next float64 above."""
    return np.nextafter(x, np.inf)


def down(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """The next float64 below."""
    return np.nextafter(x, -np.inf)


def terms(weight: Matrix) -> int:
    """Largest number of products in a row of the matrix; zeros that are not stored count for nothing."""
    if sparse.issparse(weight):
        return int(np.diff(weight.indptr).max(initial=0))
    return int(weight.shape[-1])


def row_norms(weight: Matrix, norm: Norm) -> Float[np.ndarray, " rows"]:
    """Upper bounds of the norm of each row, at most a few units in the last place per entry too large."""
    values = abs(weight)
    largest = values.max(axis=-1)
    largest = np.asarray(largest.toarray() if sparse.issparse(largest) else largest, dtype=float)
    if norm == "inf":
        return largest
    # The power of two takes the squares away from overflow and underflow, and is itself exact.
    scale = np.exp2(np.clip(np.frexp(largest)[1], -1000, 1000).astype(float))[..., None]
    unit = sparse.diags_array(1 / scale[:, 0]) @ values if sparse.issparse(values) else values / scale
    total = np.asarray((unit if norm == "1" else unit * unit).sum(axis=-1), dtype=float)
    # Entries that underflow here are below TINY once the row has been scaled to 1.
    total = total * (1 + gamma(terms(weight) + 4) * 2) + terms(weight) * TINY
    return np.where(largest == 0, 0.0, up((total if norm == "1" else up(np.sqrt(total))) * scale[..., 0]))


def outward(
    lower: Float[np.ndarray, "*s"], upper: Float[np.ndarray, "*s"]
) -> tuple[Float[np.ndarray, "*s"], Float[np.ndarray, "*s"]]:
    """The bounds, or none where a sum overflowed on the way: it may have come back from infinity, or be NaN."""
    sound = np.isfinite(lower) & np.isfinite(upper)
    return np.where(sound, lower, -np.inf), np.where(sound, upper, np.inf)
