"""The number of parameters of construction S after a projection, with every constant: a bound for all data sets.

N points in R^D span d <= min(N - 1, D) dimensions; lambda is the smallest distance between points of different
labels, Delta the largest distance between any two points, rho = 2 mu / lambda. Proof, inequality by inequality, and
what it means: `proofs_check/construction_s/README.md`. Derived here [D]; the tail of a projection is that of Dasgupta
& Gupta, 2003, Lemma 2.2.
"""

from __future__ import annotations

import math

from cgro.base.errors import UserError
from cgro.memorizers.bounds import lower_bound_total

SHRINK = 0.5
"""beta: projected squared distances are at least beta k / d times the original ones."""
STRETCH = 2.0
"""s^2: the projected separation is at least s times 2 mu, so the projected ratio is at most 1 / s."""


def tail_rate(shrink: float = SHRINK) -> float:
    """beta - 1 - ln beta: P[|W u|^2 <= beta k / d] <= exp(-(k / 2) rate) for a random projection W to k of d
    dimensions, |u| = 1."""
    return shrink - 1 - math.log(shrink)


def projected_dim(samples: int, span: int, ratio: float) -> int:
    """k: some projection to k dimensions keeps the balls apart, with projected ratio <= 1/sqrt(2) or no projection at
    all.

    min(d, max(ceil(4 rho^2 d), floor(4 ln(N/2) / (ln 2 - 1/2)) + 1)); 4 ln(N/2) / (ln 2 - 1/2) is about 20.7 ln(N/2).
    """
    _require(samples, span, ratio)
    apart = math.ceil(STRETCH * ratio**2 * span / SHRINK - 1e-9)
    pairs = math.floor(4 * math.log(samples / 2) / tail_rate()) + 1
    return min(span, max(apart, pairs, 1))


def projected_gap(span: int, dim: int, ratio: float) -> float:
    """Lower bound of 1 - rho': rho' <= 1/sqrt(2) after a projection to fewer dimensions, rho' = rho without one."""
    return 1 - ratio if dim == span else 1 - 1 / math.sqrt(STRETCH)


def levels_bound(span: int, dim: int, ratio: float, spread: float) -> float:
    """max(2, log_4(16 d spread^2 / (1 - rho'))) >= the levels m of squares, with spread = Delta / lambda >= 1."""
    return max(2.0, math.log(16 * span * spread**2 / projected_gap(span, dim, ratio), 4))


def total_for(dim: int, projected: int, stored: int, levels: float) -> float:
    """All parameters of construction S with n stored points after a projection to k dimensions, m >= 2 levels.

    k (D+1) + n (k+3) + 11 k^2 + 12 k + 4 + (m-2)(9 k^2 + 9 k + 2); increasing in k, n and m.
    """
    k = projected
    return k * (dim + 1) + stored * (k + 3) + 11 * k**2 + 12 * k + 4 + (levels - 2) * (9 * k**2 + 9 * k + 2)


def total_bound(samples: int, dim: int, ratio: float, spread: float) -> float:
    """Parameters, in all, that suffice for every data set of N >= 2 points in R^D with two labels and that spread
    Delta / lambda."""
    span = min(samples - 1, dim)
    k = projected_dim(samples, span, ratio)
    return total_for(dim, k, samples // 2, levels_bound(span, k, ratio, spread))


def closed_form_bound(samples: int, dim: int, ratio: float, spread: float) -> float:
    """(10 Lambda + 4)(21 ln N + 5)(D + N + rho^2 N D) >= total_bound, Lambda = max(2, log_4(55 D spread^2 / (1 -
    rho)))."""
    _require(samples, dim, ratio)
    log = max(2.0, math.log(55 * dim * spread**2 / (1 - ratio), 4))
    return (10 * log + 4) * (21 * math.log(samples) + 5) * (dim + samples + ratio**2 * samples * dim)


def optimality_ratio(samples: int, dim: int, ratio: float) -> float:
    """total_bound over the lower bound (D+1) max(1, ceil(rho^2 min(N-1, D))) on its data set, {e_1, ...} and 0, of
    spread sqrt 2."""
    return total_bound(samples, dim, ratio, math.sqrt(2)) / lower_bound_total(samples, dim, ratio, "2")


def _require(samples: int, span: int, ratio: float) -> None:
    if samples < 2 or span < 1:
        raise UserError(f"points must be at least 2 and span at least 1 dimension, got {samples} and {span}")
    if not 0 < ratio < 1:
        raise UserError(f"ratio must be between 0 and 1, got {ratio:g}: it is 2 radius / separation")
