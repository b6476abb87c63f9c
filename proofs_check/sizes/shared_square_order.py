"""Construction S has O(N D log(D / delta) + N polylog(N / delta)) non-zero parameters, and fewer: no logarithm
multiplies N.

Setting of the theorem: points in the unit ball, 2 eps-separated, delta < eps / 2, so delta < 1/4. The cube's side is
at most 2 + 2 delta < 2.5 and lambda (lambda - 2 delta) >= 8 delta^2, so gap >= 1.28 delta^2 and m <= max(1, log_4(2 D
/ gap)) <= log_2(D / delta) + 1 (verified with the library's levels). The non-zero count (N/2)(D+3) + 15 D + 2 +
(m-2)(8 D + 1) is then at most 2 N D + 9 D (3 + log_2(D / delta)), decided by the signs of coefficients.
"""

from __future__ import annotations

import math

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import decide
from cgro.memorizers.ball_sum import levels


def check(*, largest: int = 1024, points_factor: int = 2, level_factor: int = 9) -> Finding:
    """The inequality for all sizes, and the library's levels over D and delta.

    Args:
        largest: largest D.
        points_factor: claimed factor of N D.
        level_factor: claimed factor of D (3 + log_2(D / delta)).
    """
    N, D, m, rest = sp.symbols("N D m rest")
    count = N / 2 * (D + 3) + 15 * D + 2 + (m - 2) * (8 * D + 1)
    # 3 + l >= m + 2, for m <= l + 1: put 3 + l = m + 2 + rest.
    proof = decide(points_factor * N * D + level_factor * D * (m + 2 + rest) - count, {N: 2, D: 1, m: 2, rest: 0})
    cases = [(d, 2.0**-k) for d in (1, 2, 8, 64, 512, 4096) if d <= largest for k in range(2, 12)]

    def levels_and_bound(case: tuple[int, float]) -> tuple[float, float]:
        d, delta = case
        # Worst: eps = 2 delta, side 2 + 2 delta.
        gap = 4 * delta * (4 * delta - 2 * delta) / (2 + 2 * delta) ** 2
        return levels(d, gap), max(2.0, math.log2(d / delta) + 1)

    found = scan(cases, levels_and_bound)
    return found.finding(
        "(D, delta)",
        proof=proof.holds,
        tested=f"all N >= 2, D >= 1, m >= 2; levels at {found.count} pairs (D, delta)",
        bound=f"{points_factor} N D + {level_factor} D (3 + log_2(D / delta)); m <= log_2(D / delta) + 1",
        measured=f"inequality {'proved' if proof.holds else 'not proved'}",
        counterexample=proof.counterexample,
    )


CLAIM = Claim(
    statement="construction S has at most 2 N D + 9 D (3 + log_2(D / delta)) non-zero parameters, delta < eps / 2",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 2.2, for the order; constants derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest >= 1": lambda largest: largest >= 1},
    deep={"largest": 4096},
    controls={
        "N D instead of 2 N D": {"points_factor": 1, "largest": 8},
        "4 D a level": {"level_factor": 4, "largest": 8},
    },
)
