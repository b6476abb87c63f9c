"""How many levels of squares construction S takes: m = max(1, ceil(log_4(2 k / gap)) - 1) makes the error at most
half the gap.

In the unit cube gap = lambda_t (lambda_t - 2 mu_t) and the error of k squares is k 4^-(m+1). Exactly, over rational
gaps:

    k 4^-(m+1) <= gap / 2,   and for m > 1 one level less would not do,

hence m <= max(1, log_4(2 k / gap)). With Delta the largest distance of points the cube has side L <= 2 Delta, and a
projection to k of d dimensions keeps lambda'^2 >= k lambda^2 / (2 d), so that 2 k / gap = 2 k L^2 / (lambda'^2 (1 -
rho')) <= 16 d (Delta / lambda)^2 / (1 - rho'): shown symbolically from L = 2 Delta - a, lambda'^2 = k lambda^2 / (2
d) + b.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import sympy as sp

from cgro.claim import Claim, Finding
from cgro.evidence.cases import scan
from cgro.evidence.symbolic import decide
from cgro.networks.memorizers.ball_sum import levels

Law = Callable[[int, Fraction], int]


def chosen(dim: int, gap: Fraction) -> int:
    """m of the library."""
    return levels(dim, float(gap))


def check(*, largest_dim: int = 40, law: Law = chosen, factor: int = 16) -> Finding:
    """The choice of m over dimensions and gaps 4^-a (1 + b/8), and the bound of its argument.

    Args:
        largest_dim: dimensions 1 to this.
        factor: claimed constant of the argument's bound.
    """
    gaps = [Fraction(8 + b, 8 * 4**a) for a in range(10) for b in range(0, 24, 3)]
    cases = [(k, gap) for k in range(1, largest_dim + 1) for gap in gaps if gap <= k]

    def error_and_half_gap(case: tuple[int, Fraction]) -> tuple[Fraction, Fraction]:
        k, gap = case
        return k * Fraction(1, 4 ** (law(k, gap) + 1)), gap / 2

    enough = scan(cases, error_and_half_gap)
    wasteful = next(((k, g) for k, g in cases if law(k, g) > 1 and k * Fraction(1, 4 ** law(k, g)) <= g / 2), None)

    k, d, lam, rest, a, b = sp.symbols("k d lambda rest a b", nonnegative=True)
    spread = lam + rest  # Delta >= lambda
    side = 2 * spread - a
    separation = k * lam**2 / (2 * d) + b
    # 2 k L^2 / separation <= factor d (Delta / lambda)^2, both over 1 - rho'; a runs from 0 to 2 Delta.
    claim = factor * d * spread**2 * separation - lam**2 * 2 * k * side**2
    bound = decide(claim.subs(rest, rest + a / 2), {k: 1, d: 1, lam: 0, rest: 0, a: 0, b: 0})
    return Finding(
        holds=enough.holds and wasteful is None and bound.holds is True,
        slack=enough.slack if bound.holds and wasteful is None else 0.0,
        tested=f"{enough.count} dimensions and rational gaps; the argument's bound for all k, d, lambda, Delta",
        bound="k 4^-(m+1) <= gap / 2; 2 k / gap <= 16 d (Delta / lambda)^2 / (1 - rho')",
        measured=f"tightest at (k, gap) = ({enough.tightest[0]}, {enough.tightest[1]}); no level can be spared",
        counterexample=enough.counterexample
        or (f"one level too many: {wasteful}" if wasteful else bound.counterexample),
    )


CLAIM = Claim(
    statement="construction S needs m <= max(1, log_4(16 d (Delta / lambda)^2 / (1 - rho'))) levels of squares",
    source="construction S",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"largest_dim >= 1": lambda largest_dim: largest_dim >= 1},
    deep={"largest_dim": 300},
    controls={
        "one level less": {"law": lambda k, gap: max(1, chosen(k, gap) - 1), "largest_dim": 5},
        "one level more": {"law": lambda k, gap: chosen(k, gap) + 1, "largest_dim": 5},
        "12 instead of 16": {"factor": 12, "largest_dim": 5},
    },
)
