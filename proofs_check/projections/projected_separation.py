"""Some projection keeps separations (K9): lambda' >= 2 (1 - a) b eps for a projection to k >= 24 ln(N) / a^2
dimensions.

eps = lambda / 2, b the median of |W u|, 0 < a < 1. With t = a b in the concentration inequality (K8), b^2 d >= k / 4,
and a union bound over the N (N-1) / 2 pairs the probability of failure is at most

    N (N-1) / 2 * 4 exp(-a^2 k / 8) <= 2 N (N-1) N^-3 = 2 (N-1) / N^2 < 1.

The last step is decided symbolically for all N >= 2. The smallest dimension that the exact Beta tail allows is
computed for comparison. The check is of this proof, which fails for smaller k; projections to fewer dimensions may
exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import sympy as sp
from scipy import stats

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import decide

Law = Callable[[int, float], float]


def dimensions(samples: int, shrink: float) -> float:
    """24 ln(N) / a^2."""
    return 24 * math.log(samples) / shrink**2


def check(*, largest_samples: int = 10**6, dims: Law = dimensions) -> Finding:
    """The union bound for all N, then over N and a with the claimed k.

    Args:
        largest_samples: largest N.
    """
    N = sp.Symbol("N")
    proof = decide(N**2 - 2 * (N - 1) - 1, {N: 2})  # 2 (N-1) / N^2 < 1 in integers
    sizes = [2, 3, 4, *(10**e for e in range(1, 10) if 10**e <= largest_samples)]
    cases = [(n, a) for n in sizes for a in (0.1, 0.2, 0.5, 0.9)]

    def failure(case: tuple[int, float]) -> tuple[float, float]:
        n, a = case
        return n * (n - 1) / 2 * 4 * math.exp(-(a**2) * dims(n, a) / 8), math.nextafter(1.0, 0.0)

    found = scan(cases, failure)
    return found.finding(
        "(N, a)",
        proof=proof.holds,
        tested=f"all N >= 2 with k = 24 ln(N) / a^2; {found.count} pairs (N, a)",
        bound="probability of failure < 1",
        constant=f"at N = 100, a = 1/5 the exact tail allows k = {exact_dim(100, 0.2)} of d = 10^4, the claim asks "
        f"{math.ceil(dimensions(100, 0.2))}",
        counterexample=proof.counterexample,
    )


def exact_dim(samples: int, shrink: float, dim: int = 10**4) -> int:
    """Smallest k for which the exact tail P[|W u| < (1 - a) b] times the number of pairs is below 1."""
    pairs = samples * (samples - 1) / 2

    def fails(k: int) -> bool:
        law = stats.beta(k / 2, (dim - k) / 2)
        return bool(pairs * law.cdf((1 - shrink) ** 2 * law.median()) >= 1)

    low, high = 1, dim - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fails(middle) else (low, middle)
    return high


CLAIM = Claim(
    statement="a union bound gives lambda' >= 2 (1 - a) b eps for some projection to k >= 24 ln(N) / a^2 dimensions",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, appendix B (K9)",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest_samples >= 2": lambda largest_samples: largest_samples >= 2},
    deep={"largest_samples": 10**9},
    controls={
        "12 instead of 24": {"dims": lambda n, a: dimensions(n, a) / 2},
        "a instead of a^2": {"dims": lambda n, a: dimensions(n, a) * a},
    },
)
