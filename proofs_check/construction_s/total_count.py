"""The candidate new result: l_2 robust memorization with O~(D + N + rho^2 N D) parameters in total, every constant
explicit.

    P = k (D+1) + n (k+3) + 11 k^2 + 12 k + 4 + (m-2)(9 k^2 + 9 k + 2),   n <= N/2 stored points, m <= Lambda levels

    1. P <= (9 m + 1) k (D+1) + n (k+3) + 2 m                                  for 1 <= k <= D, m >= 2
    2. k <= 4 rho^2 d + K, K = 1 + 20.8 ln(N/2), and d (D+1) <= N D            for d = min(N-1, D)
    3. (9 Lambda + 1)(4 rho^2 N D + K (D+1)) + 2 rho^2 N D + N (K+3)/2 + 2 Lambda
           <= (10 Lambda + 4)(K+4)(D + N + rho^2 N D)
    4. Lambda = max(2, log_4(55 D (Delta/lambda)^2 / (1-rho))): 16 / (1 - 1/sqrt 2) < 55, and
       1 - rho' >= (1 - 1/sqrt 2)(1 - rho)

Each is a polynomial inequality, proved by the signs of its coefficients. K + 4 <= 21 ln N + 5 gives
`closed_form_bound`.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import Decision, decide
from cgro.memorizers.projection_bounds import closed_form_bound, total_bound, total_for

Order = Callable[[sp.Expr, sp.Expr, sp.Expr], sp.Expr]


def order(samples: sp.Expr, dim: sp.Expr, squared_ratio: sp.Expr) -> sp.Expr:
    """D + N + rho^2 N D."""
    return dim + samples + squared_ratio * samples * dim


def decisions(claimed: Order) -> list[Decision]:
    """Steps 1, 2, 3 for all real sizes in their domain."""
    k, n, m, N, D, r, K, L, d, a, b = sp.symbols("k n m N D r K Lambda d a b")
    P = total_for(D, k, n, m)
    first = (9 * m + 1) * k * (D + 1) + n * (k + 3) + 2 * m - P
    span = N * D - d * (D + 1)
    total = (9 * L + 1) * (4 * r * N * D + K * (D + 1)) + 2 * r * N * D + N * (K + 3) / 2 + 2 * L
    return [
        decide(first.subs(D, k + a), {k: 1, a: 0, m: 2, n: 0}),
        decide(span.subs({D: d + a, N: d + 1 + b}), {d: 1, a: 0, b: 0}),
        decide((10 * L + 4) * (K + 4) * claimed(N, D, r) - total, {N: 2, D: 1, r: 0, K: 1, L: 2}),
    ]


def constants_hold() -> bool:
    """Step 4 and K + 4 <= 21 ln N + 5, N >= 2, exactly: 4 / (ln 2 - 1/2) < 21, and 5 + 21 (ln N - ln 2) <= 5 + 21 ln
    N."""
    return bool(16 / (1 - 1 / sp.sqrt(2)) < 55) and bool(4 / (sp.log(2) - sp.Rational(1, 2)) < 21)


def check(*, largest: int = 4096, claimed: Order = order) -> Finding:
    """The proof, and the closed form compared with the count formula at the k and m of the steps.

    Args:
        largest: largest N and D.
    """
    proofs = decisions(claimed)
    sizes = [2**e for e in range(1, 30) if 2**e <= largest]
    cases = [
        (N, D, rho, spread)
        for N in sizes
        for D in sizes
        for rho in (0.01, 0.1, 0.4, 0.9, 0.999)
        for spread in (1.0, 30.0)
    ]
    factor = scan(cases, lambda case: (total_bound(*case), closed_form_bound(*case)))
    proved = [proof.holds is True for proof in proofs] + [constants_hold()]
    return Finding(
        holds=None if any(proof.holds is None for proof in proofs) else all(proved) and factor.holds,
        slack=factor.slack if all(proved) else 0.0,
        tested=f"all N >= 2, D >= 1, rho < 1; {factor.count} sizes up to {largest:,} by the count formula",
        bound="(10 Lambda + 4)(21 ln N + 5)(D + N + rho^2 N D)",
        measured=f"{proved.count(True)} of 4 steps proved; closed form over count at least {factor.slack:.3g}",
        constant=f"the factor of the logarithms may be divided by {factor.slack:.3g}",
        counterexample="; ".join(proof.counterexample for proof in proofs if proof.counterexample),
    )


CLAIM = Claim(
    statement="in l_2, for every rho < 1, (10 Lambda + 4)(21 ln N + 5)(D + N + rho^2 N D) parameters in total suffice",
    source="construction S with projection, a candidate new result",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest >= 2": lambda largest: largest >= 2},
    deep={"largest": 2**20},
    controls={
        "rho^4 instead of rho^2": {"claimed": lambda N, D, r: D + N + r**2 * N * D, "largest": 4},
        "without the input dimension": {"claimed": lambda N, D, r: N + r * N * D, "largest": 4},
        "without the number of points": {"claimed": lambda N, D, r: D + r * N * D, "largest": 4},
    },
)
