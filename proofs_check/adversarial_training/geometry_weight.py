"""GAIRAT's weight decreases in the number of steps that an attack needs: w = (1 + tanh(L + 5 (1 - 2 k/K))) / 2, k =
0, ..., K, L in [-2, 2].

Its derivative in r = k/K is -5 (1 - tanh^2). Interval arithmetic proves it negative on the whole box of r and L, and
bounds the slope from below. At L = -1 the weight falls from 0.9997 for samples broken at once to 6e-6 for those never
broken, so K = 10 steps span five orders of magnitude; the values are enclosed in intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
from mpmath import iv

from cgro.claims.boxes import prove_positive
from cgro.claims.claim import Claim, Finding

Slope = Callable[[Any, Any], Any]


def tanh(x: Any) -> Any:
    """tanh of an interval, without the overestimate of two exponentials."""
    return 1 - 2 / (iv.exp(2 * x) + 1)


def weight(share: Any, shift: Any) -> Any:
    """w at r = k / K and L."""
    return (1 + tanh(shift + 5 * (1 - 2 * share))) / 2


def fall(share: Any, shift: Any) -> Any:
    """-dw/dr = 5 (1 - tanh^2) = 20 / (e^x + e^-x)^2."""
    x = shift + 5 * (1 - 2 * share)
    return 20 / (iv.exp(x) + iv.exp(-x)) ** 2


def derivative_holds() -> bool:
    """fall is minus the derivative of w."""
    r, L = sp.symbols("r L", real=True)
    x = L + 5 * (1 - 2 * r)
    w = (1 + sp.tanh(x)) / 2
    return sp.simplify((-sp.diff(w, r) - 20 / (sp.exp(x) + sp.exp(-x)) ** 2).rewrite(sp.exp)) == 0


def check(*, largest_shift: float = 2.0, least: float = 1e-6, slope: Slope = fall) -> Finding:
    """The derivative on the box, and the ends at L = -1.

    Args:
        largest_shift: L lies in [-largest_shift, largest_shift].
        least: claimed lower bound of the slope's size.
    """
    identity = derivative_holds()
    proof = prove_positive(lambda r, L: slope(r, L) - iv.mpf(least), [(0, 1), (-largest_shift, largest_shift)])
    first, last = weight(iv.mpf(0), iv.mpf(-1)), weight(iv.mpf(1), iv.mpf(-1))
    ends = bool(first > 0.9996) and bool(last < 6.2e-6)
    holds = None if proof.holds is None else identity and ends and proof.holds
    point = "" if proof.point is None or proof.holds else f"r = {proof.point[0]:g}, L = {proof.point[1]:g}"
    return Finding(
        holds=holds,
        slack=1 + proof.smallest / least if holds else 0.0,
        tested=f"all r in [0, 1] and |L| <= {largest_shift:g}, {proof.pieces} pieces of the box",
        bound=f"-dw/dr > {least:g}",
        measured=f"{proof.outcome}; w from {float(first.mid):.5f} to {float(last.mid):.2g} at L = -1",
        counterexample=point,
    )


CLAIM = Claim(
    statement="the weight (1 + tanh(L + 5 (1 - 2 k/K))) / 2 decreases in k everywhere, from 0.9997 to 6e-6 at L = -1",
    source="Zhang et al., ICLR 2021 (GAIRAT), as a baseline of Xu et al. 2021, arXiv:2106.04794",
    tag="[S]",
    evidence="interval",
    check=check,
    hypotheses={"0 <= largest_shift <= 5": lambda largest_shift: 0 <= largest_shift <= 5},
    controls={
        "a slope of at least 0.001": {"least": 1e-3},
        "with steps counted backwards": {"slope": lambda r, L: -fall(r, L)},
    },
)
