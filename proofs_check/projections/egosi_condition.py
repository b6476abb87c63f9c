"""Small radii survive a projection to few dimensions (K17): rho <= sqrt((k-6)/d) N^(-2/(k-6)) / (4 sqrt e) suffices,
7 <= k <= d + 5.

A projection W keeps the balls apart if |W u| > rho for the directions u of all pairs with different labels, at most N
(N-1) / 2. With the exact law of |W u|^2, Beta(k/2, (d-k)/2), a union bound shows that one exists as soon as N (N-1) /
2 P[|W u| <= rho] < 1. That is computed for the largest rho that the condition allows, for k <= d; for k >= d no
projection is needed. The slack is the factor by which rho might be larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import stats

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

Law = Callable[[int, int, int], float]


def largest_ratio(samples: int, dim: int, projected: int) -> float:
    """sqrt((k-6)/d) N^(-2/(k-6)) / (4 sqrt e)."""
    k = projected
    return math.sqrt((k - 6) / dim) * samples ** (-2 / (k - 6)) / (4 * math.sqrt(math.e))


def sufficient_ratio(samples: int, dim: int, projected: int) -> float:
    """The rho at which N (N-1) / 2 P[|W u| <= rho] = 1."""
    law = stats.beta(projected / 2, (dim - projected) / 2)
    return math.sqrt(float(law.ppf(2 / (samples * (samples - 1)))))


def check(*, largest_samples: int = 10_000, ratio: Law = largest_ratio) -> Finding:
    """The union bound at the largest rho, for all N, d, k.

    Args:
        largest_samples: largest N.
    """
    sizes = [n for n in (3, 10, 100, 1000, 10**4, 10**6) if n <= largest_samples]
    cases = [(n, d, k) for n in sizes for d in (8, 16, 64, 256, 1024, 4096) for k in (7, 8, 10, 20, 50, 200) if k < d]
    found = scan(cases, lambda case: (ratio(*case), sufficient_ratio(*case)))
    loose = max(sufficient_ratio(*case) / ratio(*case) for case in cases if case[2] >= 4 * math.log(case[0]) + 6)
    return found.finding(
        "(N, d, k)",
        tested=f"{found.count} triples, N up to {sizes[-1]:,}, d up to 4,096",
        bound="rho at which the exact union bound reaches 1",
        constant=f"rho may be {found.slack:.3g} times larger, up to {loose:.3g} times for k >= 4 ln N + 6",
    )


CLAIM = Claim(
    statement="rho <= sqrt((k-6)/d) N^(-2/(k-6)) / (4 sqrt e) lets a projection to k dimensions keep balls apart",
    source="Egosi, Yehudai & Shamir, COLT 2025, arXiv:2502.11162, Theorem 4.4, as quoted by Kim, Moon & Yun (K17)",
    tag="[N]",
    evidence="numerical",
    check=check,
    hypotheses={"largest_samples >= 3": lambda largest_samples: largest_samples >= 3},
    deep={"largest_samples": 10**6},
    controls={
        "sqrt((k-6)/d) without the power of N": {"ratio": lambda n, d, k: math.sqrt((k - 6) / d)},
        "7 times larger": {"ratio": lambda n, d, k: 7 * largest_ratio(n, d, k)},
    },
)
