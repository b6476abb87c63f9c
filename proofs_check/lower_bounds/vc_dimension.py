"""Counting parameters by VC dimension (K18): what must be shattered never exceeds what a network of that size can
shatter.

Robust memorizers of N points shatter floor(N/2) floor(1/(1-rho^2)) points for rho <= sqrt(1 - 1/D) (K4), so the
architecture of any construction that works for all N points must have at least that VC dimension; the bound of
Bartlett et al. on it is L + Lbar W log2(4 e R log2(2 e R)). A violation would refute a construction or one of the two
bounds. It is evaluated for construction S at all sizes, at ratios within that hypothesis. The same bound gives
Omega(sqrt(N / (1-rho^2))): with W parameters VC <= C W^2 log W, fitted as an exponent.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.outcomes import together, within
from cgro.measures.scaling import power_law
from cgro.memorizers.bounds import shattered_points, vc_bound, within_shattering
from cgro.memorizers.grid_bounds import vc_bound_by_parameters

Bound = Callable[[tuple[int, ...]], float]
DIMS = (2, 10, 100)


def shared_square_sizes(samples: int, dim: int, levels: int) -> tuple[int, ...]:
    """Widths of construction S with N/2 stored points."""
    middle = [3 * dim + 1] * (levels - 1)
    return (dim, 2 * dim, *middle, dim + 1, samples // 2, 1)


def smallest_parameters(cells: float) -> int:
    """The smallest W with which a graph of some depth up to W may shatter that many points."""
    low, high = 1, 2
    while vc_bound_by_parameters(high, high) < cells:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if vc_bound_by_parameters(middle, middle) < cells else (low, middle)
    return high


def check(*, largest: int = 1000, exponent: float = 0.5, tolerance: float = 0.08, bound: Bound = vc_bound) -> Finding:
    """The comparison for all sizes, and the exponent of the parameters needed to shatter N D points.

    Args:
        largest: largest N.
        exponent: claimed exponent of the parameters in the number of shattered points.
        tolerance: accepted deviation, which covers the logarithm.
    """
    sizes = [n for n in (2, 10, 100, 1000, 10_000, 100_000) if n <= largest]
    ratios = (0.5, 0.9, *(math.sqrt(1 - 1 / d) for d in DIMS))
    cases = [(n, d, rho) for n in sizes for d in DIMS for rho in ratios if within_shattering(d, rho)]

    def shattered_and_bound(case: tuple[int, int, float]) -> tuple[float, float]:
        n, d, rho = case
        levels = max(2, math.ceil(math.log(2 * d / (1 - rho), 4)))
        return shattered_points(n, d, rho), bound(shared_square_sizes(n, d, levels))

    found = scan(cases, shattered_and_bound)
    cells = np.geomspace(1e4, 1e12, 9)
    fit = power_law(cells, np.array([smallest_parameters(c) for c in cells], dtype=float), 0.99)
    fitted = within(fit.low, fit.high, exponent, tolerance)
    verdict = together(found.outcome, fitted)
    return Finding(
        holds=verdict.holds,
        slack=verdict.slack,
        tested=f"{found.count} sizes, N up to {sizes[-1]:,}, D up to {DIMS[-1]}, rho <= sqrt(1 - 1/D); 10^4 to 10^12 "
        "shattered points",
        bound=f"VC bound of the network; exponent {exponent:g} +- {tolerance:g}",
        measured=f"tightest at (N, D, rho) = ({found.tightest[0]}, {found.tightest[1]}, {found.tightest[2]:.3f}); "
        f"exponent {fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f})",
        counterexample=f"(N, D, rho) = {found.counterexample}"
        if not found.holds
        else "the exponent"
        if fitted.holds is False
        else "",
        confidence=0.99,
    )


CLAIM = Claim(
    statement="memorizers are large enough for what they shatter; N D points need sqrt(N D) parameters, up to logs",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 2.3; Bartlett et al., JMLR 2019, Theorem 7 (K18)",
    tag="[R]",
    evidence="asymptotic",
    check=check,
    hypotheses={"largest >= 2": lambda largest: largest >= 2},
    deep={"largest": 100_000},
    controls={
        "exponent 0.6": {"exponent": 0.6, "largest": 10},
        "a VC dimension of at most the depth": {"bound": lambda sizes: len(sizes) - 1.0, "largest": 100},
    },
)
