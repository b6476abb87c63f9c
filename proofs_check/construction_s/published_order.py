"""Against the published order N D^2 rho^4 + D (Kim, Moon & Yun, Theorem 4.2 (iii), rho >= 1/(5 sqrt D)): never worse,
better for most.

With x = rho^2 D >= 1 the orders are D + N + N x and D + N x^2, so the first is at most twice the second; and where N
>= D it is smaller by a factor x / 3 at least, up to D / 3. Orders only: neither side's logarithms and constants are
compared here.
"""

from __future__ import annotations

from fractions import Fraction

import sympy as sp

from cgro.claim import Claim, Finding
from cgro.evidence.cases import scan
from cgro.evidence.symbolic import decide
from cgro.networks.memorizers.bounds import published_scaling_total, shared_square_scaling_total


def check(*, largest: int = 4096, smallest_x: Fraction = Fraction(1), gain: Fraction = Fraction(1, 3)) -> Finding:
    """Both inequalities, and the gain over sizes.

    Args:
        largest: N and D up to this.
    """
    N, D, x, a = sp.symbols("N D x a")
    ours, published = D + N + N * x, D + N * x**2
    never_worse = decide(2 * published - ours, {N: 1, D: 1, x: smallest_x})
    # published / ours >= gain x for N >= D.
    better = decide((published - gain * x * ours).subs(N, D + a), {D: 1, a: 0, x: smallest_x})
    sizes = [4**e for e in range(1, 15) if 4**e <= largest]
    cases = [(n, d, rho) for n in sizes for d in sizes for rho in (0.1, 0.3, 0.6, 0.9) if rho**2 * d >= 1]
    found = scan(cases, lambda c: (shared_square_scaling_total(*c), 2 * (c[1] + published_scaling_total(*c))))
    proofs = (never_worse, better)
    proved = [proof.holds is True for proof in proofs]
    return Finding(
        holds=None if any(proof.holds is None for proof in proofs) else all(proved) and found.holds,
        slack=found.slack if all(proved) else 0.0,
        tested=f"all N, D and rho >= 1/sqrt(D); {found.count} sizes up to {sizes[-1]:,}",
        bound="2 (D + N D^2 rho^4); gain rho^2 D / 3 for N >= D",
        measured=f"{proved.count(True)} of 2 inequalities proved; gain up to "
        f"{max((c[1] + published_scaling_total(*c)) / shared_square_scaling_total(*c) for c in cases):.3g}",
        counterexample="; ".join(proof.counterexample for proof in proofs if proof.counterexample),
    )


CLAIM = Claim(
    statement="D + N + rho^2 N D <= 2 (N D^2 rho^4 + D) for rho >= 1/sqrt D, and rho^2 D / 3 times less for N >= D",
    source="construction S against Kim, Moon & Yun, NeurIPS 2025, Theorem 4.2 (iii)",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest >= 16": lambda largest: largest >= 16},
    deep={"largest": 2**20},
    controls={
        "for rho = 1/sqrt(4 D), too": {"smallest_x": Fraction(1, 4), "largest": 16},
        "a gain of rho^2 D": {"gain": Fraction(1), "largest": 16},
    },
)
