"""For N <= D + 1 the order D + N + rho^2 N D is that of the lower bound, for every rho: construction S is optimal up
to logarithms.

The points e_1, ..., e_{N-1}, 0 need (D+1) max(1, ceil(rho^2 (N-1))) parameters (Kim, Moon & Yun, Prop. 3.2), which is
at least (D+1)(1 + rho^2 (N-1)) / 2, and D + N + rho^2 N D is at most twice (D+1)(1 + rho^2 (N-1)): a polynomial
inequality for N <= D + 1. For N > D the lower bound stops growing with N, and the gap stays open.
"""

from __future__ import annotations

import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import decide
from cgro.memorizers.bounds import lower_bound_total, shared_square_scaling_total
from cgro.memorizers.projection_bounds import optimality_ratio


def check(*, largest_dim: int = 1024, factor: float = 4.0, excess: int = 0, proof_factor: int = 2) -> Finding:
    """The inequality, its best constant over integer sizes, and the factor that the logarithms add.

    Args:
        largest_dim: largest dimension.
        factor: claimed constant between the order and the lower bound.
        excess: number of points beyond D + 1; the claim allows none.
        proof_factor: constant of the symbolic inequality.
    """
    N, D, r, a = sp.symbols("N D r a")
    gap = proof_factor * (D + 1) * (1 + r * (N - 1)) - (D + N + r * N * D)
    proof = decide(gap.subs(D, N - 1 + a), {N: 2, r: 0, a: 0})
    dims = [2**e for e in range(21) if 2**e <= largest_dim]
    ratios = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
    cases = [(n, d, rho) for d in dims for n in sorted({2, d // 2 + 1, d + 1 + excess}) if n >= 2 for rho in ratios]

    def order_and_bound(case: tuple[int, int, float]) -> tuple[float, float]:
        n, d, rho = case
        return shared_square_scaling_total(n, d, rho), factor * lower_bound_total(n, d, rho, "2")

    found = scan(cases, order_and_bound)
    logs = max(optimality_ratio(n, d, rho) for n, d, rho in cases)
    return found.finding(
        "(N, D, rho)",
        proof=proof.holds,
        tested=f"all N <= D + 1 and rho; {found.count} integer sizes, D up to {dims[-1]:,}",
        bound=f"{factor:g} (D+1) max(1, ceil(rho^2 min(N-1, D)))",
        constant=f"{factor / found.slack:.3g} instead of {factor:g}; with all logarithms {logs:.3g}",
        counterexample=proof.counterexample,
    )


CLAIM = Claim(
    statement="for N <= D + 1 the order D + N + rho^2 N D is within 4 times the lower bound on all parameters",
    source="construction S; lower bound: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.2",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest_dim >= 1": lambda largest_dim: largest_dim >= 1, "factor > 0": lambda factor: factor > 0},
    deep={"largest_dim": 2**20},
    controls={
        "for more points than D + 1": {"excess": 100_000},
        "within 1.2 times": {"factor": 1.2},
        "1 instead of 2 in the proof": {"proof_factor": 1},
    },
)
