"""Theorem 3.1 of Kim, Moon & Yun in its combined form with constants: a dense architecture whose weights memorize every
N points of R^D robustly in l_2 has at least (rho^2 min(N, D) + 1) D / 3 parameters, zeros included, and at least
sqrt(n / log2(4 e n)) with n = N min(D, 1/(1-rho^2)) / 3.

    1. first layer       (D + 1) max(1, ceil(rho^2 min(N-1, D))) >= (rho^2 min(N, D) + 1) D / 3        N >= 2
    2. shattered points  max(N, floor(N/2)(1 + min(D, floor(1/(1-rho^2))))) >= N min(D, 1/(1-rho^2)) / 3    N >= 2
    3. patterns          n <= W + W^2 log2(2 e n) implies W^2 log2(4 e n) >= n

for the points of `first-layer-width`, those of `shattering`, and the count of patterns of `robust-size`, where W
parameters in L <= W layers have at most 2^(L + L W log2(2 e n)) patterns on n points. n / log2(4 e n) increases from n
= 1/4 on (sympy), so that fewer points than are shattered may stand for n. z3 decides all three for all sizes and
ratios, with floors and ceilings. The library's `memorizer_size_lower_bound` is compared with the claim. No larger
fraction follows from these widths and points: the first 1/3 is approached at N = 2, rho -> 1, D large, and the second
at N = 3, 1/(1-rho^2) -> 3 and every larger integer. The order is a maximum; a sum of both parts is at most twice that.
"""

from __future__ import annotations

import math
from itertools import product

import sympy as sp
import z3

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision
from cgro.memorizers.bounds import first_layer_width, memorizer_size_lower_bound, shattered_points

Case = tuple[int, int, float]
"""N, D and rho."""


def decisions(first: float, second: float) -> dict[str, Decision]:
    """The three steps, with claimed fractions."""
    N, D, half = z3.Ints("N D half")
    q, w, x, log, W, n, floor, centre = z3.Reals("q w x log W n floor centre")

    def least(a: z3.ArithRef, b: z3.ArithRef) -> z3.ArithRef:
        return z3.If(a <= b, a, b)

    sizes = (N >= 2, D >= 1, q > 0, q < 1)
    near, all_of = z3.ToReal(least(N - 1, D)), z3.ToReal(least(N, D))
    d, points = z3.ToReal(D), z3.ToReal(N)
    t, s = z3.Reals("t s")
    doubled = prove(all_of <= 2 * near, *sizes)
    # w is any number of neurons that is at least 1 and rho^2 min(N-1, D).
    layer = prove((d + 1) * w >= first * (q * s + 1) * d, w >= 1, w >= q * t, s <= 2 * t, s > 0, D >= 1, q > 0, q < 1)
    capped = least(d, floor)
    return {
        "min(N, D) <= 2 min(N-1, D)": doubled,
        "first layer": layer,
        "half of the points": prove(3 * z3.ToReal(half) >= points, N >= 2, 2 * half >= N - 1),
        "points of a centre": prove(1 + capped >= least(d, x), D >= 1, x >= 1, floor >= 1, floor <= x, x < floor + 1),
        # centre is any number of points that is at least x = min(D, 1/(1-rho^2)).
        "product": prove(
            z3.Or(points >= second * points * x, half * centre >= second * points * x),
            *(3 * z3.ToReal(half) >= points, centre >= x, N >= 2, x >= 1, half >= 1),
        ),
        "n / log2(4 e n) increases": increasing(),
        "patterns": prove(W * W * (log + 1) >= n, W >= 1, log >= 0, n <= W + W * W * log),
    }


def increasing() -> Decision:
    """x / ln(4 e x) increases for x > 1/4: its derivative has the sign of ln(4 x)."""
    more = sp.Symbol("more", positive=True)
    x = sp.Symbol("x", positive=True)
    slope = sp.diff(x / (1 + sp.log(4 * x)), x) * (1 + sp.log(4 * x)) ** 2
    same = sp.simplify(sp.expand_log(slope - sp.log(4 * x))) == 0
    return Decision(bool(same and sp.log(1 + more).is_positive) or None)


def claimed(case: Case, first: float, second: float, inside: float) -> float:
    """The larger of the two parts of the claim."""
    N, D, rho = case
    n = second * N * min(D, 1 / (1 - rho**2))
    by_patterns = math.sqrt(n / math.log2(inside * n)) if n >= 1 else 0.0
    return max(first * (rho**2 * min(N, D) + 1) * D, by_patterns)


def check(
    *,
    largest: int = 4096,
    first: float = 1 / 3,
    second: float = 1 / 3,
    exponent: float = 2.0,
    inside: float = 4 * math.e,
) -> Finding:
    """The steps for all sizes, the library's bound, and where the fractions are approached.

    Args:
        largest: largest N and D of the library's bound.
        first: claimed fraction of (rho^2 min(N, D) + 1) D.
        second: claimed fraction of N min(D, 1/(1-rho^2)).
        exponent: claimed exponent of rho.
        inside: claimed factor in the logarithm.
    """
    # A little less than the decimal of a fraction.
    proofs = decisions(first * (1 - 1e-12), second * (1 - 1e-12))
    sizes = [2**e + odd for e in range(1, 30) for odd in (0, 1) if 2**e + odd <= largest]
    cases = list(product(sizes, sizes, (0.01, 0.1, 0.5, 0.7, 0.9, 0.99, 0.9999)))
    found = scan(cases, lambda c: (claimed(c, first, second, inside), memorizer_size_lower_bound(*c)))
    edges = list(product((2, 3), (1, 2, 10_000), (1e-3, 0.7, 1 - 1e-9)))
    below = [math.sqrt(1 - 1 / k) * (1 - 1e-9) for k in (3, 4, 10)]  # 1/(1-rho^2) a little below k
    layer = min(
        (D + 1) * first_layer_width(N, D, rho, "2") / ((rho**exponent * min(N, D) + 1) * D) for N, D, rho in edges
    )
    # Each of these ratios approaches the fraction.
    shares = [max(3, shattered_points(3, 10**4, rho)) * (1 - rho**exponent) / 3 for rho in below]
    centre = max(shares, key=lambda share: abs(share - second))
    wrong = [f"{name}: {p.counterexample}" for name, p in proofs.items() if p.holds is False]
    for name, fraction, least in (("first layer", first, layer), ("shattered points", second, centre)):
        if not fraction * (1 - 1e-9) <= least <= fraction * 1.001:
            wrong.append(f"{name}: the largest fraction is {least:.6f}")
    wrong += [] if found.holds else [f"(N, D, rho) = {found.counterexample}"]
    holds = False if wrong else None if any(p.holds is None for p in proofs.values()) else True
    return Finding(
        holds=holds,
        slack=found.slack if holds else min(found.slack, 0.999),
        tested=f"all N >= 2, D, rho, n and W; {found.count} sizes up to {largest:,}",
        bound="max((rho^2 min(N, D) + 1) D / 3, sqrt(n / log2(4 e n))), n = N min(D, 1/(1-rho^2)) / 3",
        measured=f"{sum(p.holds is True for p in proofs.values())} of {len(proofs)} steps proved; largest fractions "
        f"{layer:.5f} and {centre:.5f}",
        constant=f"the library's bound is at least {found.slack:.3g} times the claim",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="dense architectures that memorize every N >= 2 points of R^D robustly in l_2 have >= (rho^2 min(N, D) + "
    "1) D / 3 parameters, zeros included, and >= sqrt(n / log_2(4 e n)), n = N min(D, 1/(1-rho^2)) / 3",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 3.1, without constants; Bartlett et al. 2019",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"largest >= 4": lambda largest: largest >= 4},
    deep={"largest": 2**20},
    controls={
        "1/2 in place of the first 1/3": {"first": 1 / 2, "largest": 4},
        "1/2 in place of the second 1/3": {"second": 1 / 2, "largest": 4},
        "rho in place of rho^2": {"exponent": 1.0, "largest": 4},
    },
    constants={
        "D / 3": Constant(lambda f: {"first": f / 3}),
        "/ 3 in n": Constant(lambda f: {"second": f / 3}),
        "exponent of rho^2": Constant(lambda f: {"exponent": 2 * f}),
        "sqrt, W^2 of n, and 4 e n": Constant(
            lambda f: {"inside": 4 * math.e * f},
            refuted=(),
            otherwise="patterns are counted from above; no architecture of that size is known to shatter n points",
        ),
    },
)
