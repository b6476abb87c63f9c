"""The robust classifier f*(x) = (b - a) / (a + b), a = dist(x, A), b = dist(x, B): (1/eps)-Lipschitz and eps-robust
if dist(A, B) >= 2 eps.

|df/da| + |df/db| = 2 / (a + b), and a + b >= dist(A, B) >= 2 eps; a and b are 1-Lipschitz, so f* is
(1/eps)-Lipschitz. Within eps of A (strictly) a < eps <= b, so f* > 0: robust error 0. Both are decided symbolically.
The constant is attained: on the segment between two points 2 eps apart f* falls from 1 to -1.
"""

from __future__ import annotations

from fractions import Fraction

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import decide, vanishes


def derivative_identity() -> bool:
    """|df/da| + |df/db| - 2 / (a + b)."""
    a, b = sp.symbols("a b", positive=True)
    f = (b - a) / (a + b)
    return vanishes(-sp.diff(f, a) + sp.diff(f, b) - 2 / (a + b))


def check(*, factor: Fraction = Fraction(1), separation: Fraction = Fraction(2)) -> Finding:
    """Derivatives, bound and robustness for all a, b >= 0 with a + b >= 2 eps; the segment attains the constant."""
    eps, a, more = sp.symbols("eps a more", nonnegative=True)
    identity = derivative_identity()
    # factor / eps - 2 / (a + b) >= 0 for a + b = separation eps + more, times both denominators.
    lipschitz = decide(sp.Rational(factor) * (sp.Rational(separation) * eps + more) - 2 * eps, {eps: 0, more: 0})
    # Within eps of A, eps = a + rest: b - a >= separation eps - 2 a.
    rest = sp.Symbol("rest", nonnegative=True)
    robust = decide(sp.Rational(separation) * (a + rest) - 2 * a, {a: 0, rest: 0})
    # Points at 0 and 2 eps with eps = 1: f*(t) = 1 - t, slope 1 = 1 / eps.
    attained = [Fraction(2 - t - t, 2) for t in (0, 1, 2)] == [Fraction(1), Fraction(0), Fraction(-1)]
    holds = identity and lipschitz.holds is True and robust.holds is True and attained
    decided = lipschitz.holds is not None and robust.holds is not None
    return Finding(
        holds=holds if decided else None,
        slack=float(factor * separation / 2) if holds else min(float(factor * separation / 2), 0.99),
        tested="all distances a, b >= 0 and eps; the segment between two points",
        bound="1 / eps",
        measured=f"identity {'proved' if identity else 'wrong'}; Lipschitz {lipschitz.holds}, robust {robust.holds}",
        counterexample=lipschitz.counterexample or robust.counterexample,
    )


CLAIM = Claim(
    statement="f* = (b - a) / (a + b), a = dist(x, A), b = dist(x, B), is (1/eps)-Lipschitz and eps-robust",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, Proposition 3.2",
    tag="[S]",
    evidence="symbolic",
    check=check,
    controls={
        "0.8 / eps": {"factor": Fraction(4, 5)},
        "on 1.6 eps-separated sets": {"separation": Fraction(8, 5)},
    },
)
