"""Small radii need O~(sqrt N) parameters: the depth of the network over grid cells is at most n + 2 sqrt(2 M (W + 2))
+ W + 7, its width 3 D + 1 or 10.

M stored cells of W-bit indices in groups of N_2: depth n + 2 ceil(M / N_2) + N_2 (W + 2) + 1. By the inequality of
arithmetic and geometric means 2 M / x + x (W + 2) >= 2 sqrt(2 M (W + 2)), with equality at x = sqrt(2 M / (W + 2));
rounding x up and M / x up adds at most (W + 2) + 2. The bound is decided symbolically for real x and in integers for
the library's choice of groups; with W = O(log N) bits the exponent of all parameters in N is 1/2, fitted.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.outcomes import exactly, together, within
from cgro.measures.scaling import power_law
from cgro.memorizers.cells import Plan


def means_inequality() -> bool:
    """2 M / x + x w - 2 sqrt(2 M w) is (sqrt(2 M / x) - sqrt(x w))^2."""
    M, x, w = sp.symbols("M x w", positive=True)
    return sp.simplify(2 * M / x + x * w - 2 * sp.sqrt(2 * M * w) - (sp.sqrt(2 * M / x) - sp.sqrt(x * w)) ** 2) == 0


def plan(cells: int, dim: int) -> Plan:
    """The library's plan, for indices of about log2 N + 1 bits in each coordinate."""
    digits = max(1, math.ceil(math.log2(cells) + 1))
    return Plan.best(cells, digits * dim, 1, digits, dim)


def check(*, largest: int = 4096, exponent: float = 0.5, tolerance: float = 0.05, factor: float = 2.0) -> Finding:
    """The depth compared with the bound, and the exponent of all parameters.

    Args:
        largest: largest number M of stored cells.
        exponent: claimed exponent of all parameters in M, up to logarithms.
        tolerance: accepted deviation, interval included.
        factor: claimed factor of sqrt(2 M (W + 2)) in the depth.
    """
    proved = means_inequality()
    sizes = sorted({round(2 ** (e / 2)) for e in range(2, 2 * int(math.log2(largest)) + 1)})
    cases = [(M, D) for M in sizes for D in (1, 2, 5)]

    def depth_and_bound(case: tuple[int, int]) -> tuple[float, float]:
        best = plan(*case)
        W = best.index_bits
        return best.depth, best.digits + factor * math.sqrt(2 * best.cells * (W + 2)) + W + 7

    found = scan(cases, depth_and_bound)
    big = [M for M in sizes if M >= 16]
    # Depth is sqrt(M W): the logarithm sqrt(W + 2) is taken out.
    totals = [plan(M, 2).size.total / math.sqrt(plan(M, 2).index_bits + 2) for M in big]
    fit = power_law(np.array(big, dtype=float), np.array(totals), 0.99)
    fitted = within(fit.low, fit.high, exponent, tolerance)
    verdict = together(exactly(proved, math.inf if proved else 0.0), found.outcome, fitted)
    return Finding(
        holds=verdict.holds,
        slack=verdict.slack,
        tested=f"the inequality for all M, x, W; {found.count} plans, M up to {sizes[-1]:,}, D = 1, 2, 5",
        bound=f"depth n + {factor:g} sqrt(2 M (W + 2)) + W + 7; exponent {exponent:g} +- {tolerance:g}",
        measured=f"tightest at {found.tightest}; exponent {fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f})",
        counterexample=f"(M, D) = {found.counterexample}"
        if not found.holds
        else "the exponent"
        if fitted.holds is False
        else "",
        confidence=0.99,
    )


CLAIM = Claim(
    statement="for small radii O~(sqrt N) parameters memorize N points: depth about 2 sqrt(2 N W), constant width",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2 (i); layers of cgro",
    tag="[S]",
    evidence="asymptotic",
    check=check,
    hypotheses={"largest >= 64": lambda largest: largest >= 64},
    deep={"largest": 2**16},
    controls={
        "depth 1.5 sqrt(2 M W)": {"factor": 1.5, "largest": 1024},
        "exponent 0.4": {"exponent": 0.4, "largest": 1024},
        "exponent 0.6": {"exponent": 0.6, "largest": 1024},
    },
)
