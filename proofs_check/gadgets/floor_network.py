"""The floor network (K15) is exact wherever the fractional part is at least c: doubling modulo 1, n times, with ReLUs.

v = 1 - z / 2^n is doubled modulo 1 by v -> 2 v - [relu(v - 1/2 + c_t) - relu(v - 1/2)] / c_t, c_t = c 2^(t-n), which
errs only for v in (1/2 - c_t, 1/2). In the end v = 1 - (z - floor z), so floor z = z + v - 1. The step is decided
symbolically on the three cells of v; that z with fractional part at least c never meets the bad cell is decided
exactly over a fine rational grid of z, and on that grid the network must fail where the fractional part is below c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import sympy as sp

from cgro.claims.claim import Claim, Finding

Slope = Callable[[Fraction, int, int], Fraction]


def step_width(c: Fraction, t: int, n: int) -> Fraction:
    """c_t = c 2^(t-n), for the t-th doubling, t = 0, ..., n - 1."""
    return c / 2 ** (n - t)


def floor(z: Fraction, n: int, c: Fraction, width: Slope) -> Fraction:
    """What the network computes."""
    v = 1 - z / 2**n
    for t in range(n):
        w = width(c, t, n)
        v = 2 * v - (max(v - Fraction(1, 2) + w, Fraction(0)) - max(v - Fraction(1, 2), Fraction(0))) / w
    return z + v - 1


def doubling_holds() -> bool:
    """2 v for v <= 1/2 - w, 2 v - 1 for v >= 1/2."""
    w, more = sp.symbols("w more", nonnegative=True)
    half = sp.Rational(1, 2)

    def doubled(v: sp.Expr) -> sp.Expr:
        return 2 * v - (sp.Max(sp.expand(v - half + w), 0) - sp.Max(sp.expand(v - half), 0)) / w

    low, high = half - w - more, half + more
    low_left = sp.simplify(doubled(low) - 2 * low).subs(sp.Max(0, -more), 0)
    high_left = sp.simplify(doubled(high) - (2 * high - 1))
    return bool(sp.simplify(low_left) == 0 and sp.simplify(high_left) == 0)


def check(*, digits: int = 4, parts: int = 48, width: Slope = step_width) -> Finding:
    """The step symbolically; the network on all multiples of 1/parts in (0, 2^digits).

    Args:
        digits: n, with z in (0, 2^n).
        parts: denominator of the grid of z, with c = 1/8.
    """
    proved = doubling_holds()
    c = Fraction(1, 8)
    grid = [Fraction(k, parts) for k in range(1, parts * 2**digits)]
    inside = [z for z in grid if z % 1 >= c]
    outside = [z for z in grid if 0 < z % 1 < c]
    wrong = [z for z in inside if floor(z, digits, c, width) != math.floor(z)]
    fails_outside = sum(floor(z, digits, c, width) != math.floor(z) for z in outside)
    holds = proved and not wrong and fails_outside > 0
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested=f"all v; {len(inside)} rational z in (0, {2**digits}) with fractional part >= 1/8",
        bound="floor z, exactly",
        measured=f"step {'proved' if proved else 'not proved'}; {len(wrong)} wrong; with smaller fractional part "
        f"{fails_outside} of {len(outside)} wrong",
        counterexample=f"z = {wrong[0]}" if wrong else "",
    )


CLAIM = Claim(
    statement="doubling modulo 1 with ReLUs gives floor z exactly wherever the fractional part of z is at least c",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Lemma B.16 (K15)",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= digits <= 10": lambda digits: 1 <= digits <= 10, "parts >= 16": lambda parts: parts >= 16},
    deep={"digits": 7, "parts": 96},
    controls={
        "the same width at every doubling": {"width": lambda c, t, n: c / 2, "digits": 3, "parts": 48},
        "twice the width": {"width": lambda c, t, n: 2 * step_width(c, t, n), "digits": 2, "parts": 48},
    },
)
