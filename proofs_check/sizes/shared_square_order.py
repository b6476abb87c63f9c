"""Construction S has O(N D log(D / delta) + N polylog(N / delta)) non-zero parameters, and fewer: no logarithm
multiplies N.

Setting of the theorem: points in the unit ball, classes 2 eps-separated, eps < 1/2, delta < eps / 2, so delta < 1/4.
The cube's side is at most 2 + 2 delta, and lambda (lambda - 2 delta) >= 8 delta^2 for lambda >= 4 delta (z3), so the
gap in the unit cube is at least 2 delta^2 / (1 + delta)^2. The smallest m with error D 4^-(m+1) <= gap / 2 is

    m = ceil(log_2 X) - 1 < log_2 X,   X = (1 + delta) sqrt(D) / delta > 5

With T = 2^(m+1) >= X the error is at most half the gap, decided by z3 for all real D, delta and T. The non-zero count
(N/2)(D+3) + 15 D + 2 + (m-2)(8 D + 1) is (N/2)(D + 3) + (8 D + 1) m - D, so the bound holds with D to spare, for all N,
D and m >= 2. The library's levels are compared with the bound for many D and delta, also next to where they change.
"""

from __future__ import annotations

import math

import z3

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, prove, real
from cgro.memorizers.ball_sum import levels


def bound(
    samples: int, dim: int, delta: float, half: float = 2.0, three: float = 3.0, eight: float = 8.0, root: float = 0.5
) -> float:
    """(N/2)(D + 3) + (8 D + 1) log_2((1 + delta) sqrt(D) / delta)."""
    return samples / half * (dim + three) + (eight * dim + 1) * math.log2((1 + delta) * dim**root / delta)


def count(samples: int, dim: int, m: int) -> float:
    """Non-zero parameters with N/2 stored points and m >= 2 levels."""
    return samples / 2 * (dim + 3) + 15 * dim + 2 + (m - 2) * (8 * dim + 1)


def worst_gap(delta: float, over: float) -> float:
    """lambda (lambda - 2 delta) / side^2 with lambda = 2 eps, eps = `over` delta, and the largest side."""
    return 2 * over * delta * (2 * over * delta - 2 * delta) / (2 + 2 * delta) ** 2


def check(
    *,
    largest: int = 300,
    half: float = 2.0,
    three: float = 3.0,
    eight: float = 8.0,
    root: float = 0.5,
    over: float = 2.0,
) -> Finding:
    """The inequalities for all real numbers, and the library's levels over D and delta.

    Args:
        largest: largest D of the cases, beside powers of four.
        half: the 2 of N / 2.
        three: the 3 of D + 3.
        eight: the 8 of 8 D + 1.
        root: the exponent of D inside the logarithm.
        over: eps / delta is larger than this.
    """
    lam, delta, D, T, m, log, root_of_d = z3.Reals("lambda delta D T m log s")
    ratio = real(int(1000 * over)) / 1000
    proofs = {
        "gap": prove(lam * (lam - 2 * delta) >= 8 * delta * delta, lam >= 2 * ratio * delta, delta > 0),
        # 2 D / T^2 <= gap = 8 delta^2 / (2 + 2 delta)^2, for T >= X.
        "levels": prove(
            2 * D * (2 + 2 * delta) * (2 + 2 * delta) <= 8 * delta * delta * T * T,
            *(root_of_d * root_of_d == D, root_of_d >= 1, delta > 0, T * delta >= (1 + delta) * root_of_d),
        ),
        "count": prove(15 * D + 2 + (m - 2) * (8 * D + 1) <= (8 * D + 1) * log, m >= 2, log >= m, D >= 1),
        "two levels": prove(1 + delta > 5 * delta, delta > 0, delta < real(1) / 4),
    }
    # 4^e has an exact root; delta a little below, and above, those at which a level is added.
    dims = sorted({*range(1, largest + 1, max(1, largest // 40)), *(4**e for e in (1, 2, 3, 5, 8, 15))})
    deltas = [
        d for k in (3, 4, 5, 8, 12, 16, 20) for d in (0.999 / (2**k - 1), 1.001 / (2**k - 1), 0.73 / 2**k, 1.25 / 2**k)
    ]
    cases = [(n, d, delta) for n in (2, 10**9) for d in dims for delta in deltas if delta < 0.25]

    def measured_and_bound(case: tuple[int, int, float]) -> tuple[float, float]:
        n, d, delta = case
        m = max(2, levels(d, worst_gap(delta, over)))
        return count(n, d, m), bound(n, d, delta, half, three, eight, root)

    found = scan([c for c in cases if worst_gap(c[2], over) > 4 * c[1] * 4.0**-26], measured_and_bound)
    proved = finding(proofs, tested="", bound="")
    return found.finding(
        "(N, D, delta)",
        # A step that fails refutes the proof, not the claim: that takes a case.
        proof=proved.holds or (False if not found.holds else None),
        tested=f"all N, D, delta < 1/4, by four inequalities; the library's levels at {found.count} cases",
        bound="(N/2)(D + 3) + (8 D + 1) log_2((1 + delta) sqrt(D) / delta)",
        measured=proved.measured,
        counterexample="" if found.holds else proved.counterexample,
    )


WEAKER = "weaker: a larger bound"
CLAIM = Claim(
    statement="construction S has at most (N/2)(D + 3) + (8 D + 1) log_2((1 + delta) sqrt(D) / delta) non-zero "
    "parameters for N points of two labels in the unit ball, those of different labels 2 eps apart, eps < 1/2, at "
    "radius delta < eps / 2",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 2.2, for the order; constants derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest >= 1": lambda largest: largest >= 1, "over > 1": lambda over: over > 1},
    deep={"largest": 4096},
    constants={
        "N/2": Constant(lambda factor: {"half": 2 * factor}, refuted=(1.05,), otherwise=WEAKER),
        "D + 3": Constant(lambda factor: {"three": 3 * factor}, refuted=(0.95,), otherwise=WEAKER),
        "8 D + 1": Constant(lambda factor: {"eight": 8 * factor}, refuted=(0.95,), otherwise=WEAKER),
        "sqrt(D)": Constant(lambda factor: {"root": 0.5 * factor}, refuted=(0.95,), otherwise=WEAKER),
        "eps / 2": Constant(
            lambda factor: {"over": 2 * factor},
            refuted=(0.95,),
            otherwise="weaker: fewer radii, for which it holds, too",
        ),
    },
    controls={
        "N D / 4": {"half": 4.0, "largest": 8},
        "4 D a level": {"eight": 4.0, "largest": 8},
        "no root of D": {"root": 0.0, "largest": 8},
    },
)
