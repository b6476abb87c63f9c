"""The norm of a projected unit vector concentrates (K8): P[| |W u| - b | >= t] <= 4 exp(-t^2 d / 2), b its median.

W projects onto a random k-dimensional subspace of R^d; |W u|^2 is Beta(k/2, (d-k)/2), so median and tail are
computed, not sampled. The second half, b >= sqrt(k / d) / 2 for k >= 10 ln d, is checked for every k >= 1: it needs
no such k.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

Law = Callable[[float, int], float]


def tail_bound(t: float, d: int) -> float:
    """4 exp(-t^2 d / 2)."""
    return 4 * math.exp(-(t**2) * d / 2)


def check(*, largest_dim: int = 500, bound: Law = tail_bound, half: float = 0.5) -> Finding:
    """The tail and the median over a range of dimensions.

    Args:
        largest_dim: largest dimension d.
        half: claimed lower bound of the median over sqrt(k / d).
    """
    dims = [d for d in (2, 3, 5, 10, 30, 100, 300, 1000, 3000, 10000) if d <= largest_dim]
    pairs = [(k, d) for d in dims for k in sorted({1, 2, 3, math.isqrt(d), d // 4, d // 2, d - 1}) if 1 <= k < d]
    cases = [(k, d, float(t)) for k, d in pairs for t in np.linspace(0.02, 0.98, 33)]
    laws = {pair: stats.beta(pair[0] / 2, (pair[1] - pair[0]) / 2) for pair in pairs}
    medians = {pair: math.sqrt(law.median()) for pair, law in laws.items()}

    def tail_and_bound(case: tuple[int, int, float]) -> tuple[float, float]:
        k, d, t = case
        law, b = laws[k, d], medians[k, d]
        low, high = max(b - t, 0.0), min(b + t, 1.0)
        return float(law.cdf(low**2) + law.sf(high**2)), bound(t, d)

    tail = scan(cases, tail_and_bound)
    median = scan(pairs, lambda pair: (half * math.sqrt(pair[0] / pair[1]), medians[pair]))
    return Finding(
        holds=tail.holds and median.holds,
        slack=min(tail.slack, median.slack),
        tested=f"{tail.count} triples (k, d, t) and {median.count} medians, d up to {dims[-1]:,}",
        bound=f"4 exp(-t^2 d / 2); median >= {half:g} sqrt(k / d)",
        measured=f"tail tightest at (k, d, t) = {tail.tightest}, median at (k, d) = {median.tightest}",
        constant=f"4 may be {4 / tail.slack:.3g}; the median is at least {half * median.slack:.3g} sqrt(k / d)",
        counterexample=f"{tail.counterexample or median.counterexample}",
    )


CLAIM = Claim(
    statement="P[| |W u| - b | >= t] <= 4 exp(-t^2 d / 2), W a random projection, b the median, b >= sqrt(k / d) / 2",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, appendix B (K8)",
    tag="[D]",
    evidence="numerical",
    check=check,
    hypotheses={"largest_dim >= 2": lambda largest_dim: largest_dim >= 2},
    deep={"largest_dim": 10_000},
    controls={
        "exponent t^2 d": {"bound": lambda t, d: 4 * math.exp(-(t**2) * d)},
        "median at least 1.2 sqrt(k / d)": {"half": 1.2},
    },
)
