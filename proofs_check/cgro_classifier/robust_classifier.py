"""The robust classifier f*(x) = (b - a) / (a + b), a = dist(x, A), b = dist(x, B), of 2 eps-separated sets: its
Lipschitz constant is at most 1 / eps, and attained by two points; within eps of A it is positive, and no farther.

|df/da| + |df/db| = 2 / (a + b), and a + b >= dist(A, B) >= 2 eps; a and b are 1-Lipschitz, so f* is (1/eps)-Lipschitz.
Less than eps away from A, a < eps and b >= 2 eps - a > a, so f* > 0: robust error 0. All are decided symbolically for
all a, b and eps. For A and B two points 2 eps apart f* falls from 1 to -1 on the segment between them, which attains
the constant, and it vanishes at the midpoint, at distance eps from both.
"""

from __future__ import annotations

from fractions import Fraction

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import decide, vanishes


def derivative_identity() -> bool:
    """|df/da| + |df/db| - 2 / (a + b)."""
    a, b = sp.symbols("a b", positive=True)
    f = (b - a) / (a + b)
    return vanishes(-sp.diff(f, a) + sp.diff(f, b) - 2 / (a + b))


def on_the_segment() -> tuple[sp.Expr, sp.Expr]:
    """f* and its slope at distance t from A, on the segment of length 2 eps from A to B."""
    t, eps = sp.symbols("t eps", positive=True)
    value = ((2 * eps - t) - t) / (t + (2 * eps - t))
    return sp.simplify(value), sp.simplify(sp.diff(value, t))


def check(*, factor: float = 1.0, separation: float = 2.0, radius: float = 1.0) -> Finding:
    """Derivatives, bound and robustness for all a, b >= 0 with a + b >= separation eps; the segment attains both.

    Args:
        factor: claimed Lipschitz constant, in 1 / eps.
        separation: dist(A, B), in eps.
        radius: claimed radius of robustness, in eps.
    """
    number, apart, reach = (sp.Rational(Fraction(v).limit_denominator(1000)) for v in (factor, separation, radius))
    eps, a, more = sp.symbols("eps a more", nonnegative=True)
    # number / eps - 2 / (a + b) >= 0 for a + b = apart eps + more, times both denominators.
    lipschitz = decide(number * (apart * eps + more) - 2 * eps, {eps: 0, more: 0})
    # b - a >= apart eps - 2 a, for reach eps = a + more.
    robust = decide(apart * (a + more) / reach - 2 * a, {a: 0, more: 0})
    t, scale = sp.symbols("t eps", positive=True)
    value, slope = on_the_segment()
    attained = {
        "the Lipschitz constant": vanishes(-slope * scale - number),
        "the radius": vanishes(value.subs(t, reach * scale)),
    }
    missed = [words for words, true in attained.items() if not true]
    decided = lipschitz.holds is not None and robust.holds is not None
    holds = bool(derivative_identity() and lipschitz.holds and robust.holds and not missed)
    return Finding(
        holds=holds if decided else None,
        slack=1.0 if holds else 0.0,
        tested="all distances a, b >= 0 and eps; the segment between two points 2 eps apart",
        bound=f"{factor:g} / eps; radius {radius:g} eps",
        measured=f"Lipschitz {lipschitz.holds}, robust {robust.holds}; attained by two points: {not missed}",
        counterexample=""
        if holds
        else lipschitz.counterexample or robust.counterexample or f"{', '.join(missed)}: not attained",
    )


CLAIM = Claim(
    statement="for dist(A, B) >= 2 eps, f* = (b - a) / (a + b), a = dist(x, A), b = dist(x, B), is (1/eps)-Lipschitz "
    "and robust at every radius below eps, both attained",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, Proposition 3.2; attained: derived here",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "factor, separation, radius > 0": lambda factor, separation, radius: min(factor, separation, radius) > 0,
    },
    constants={
        "dist(A, B) >= 2 eps": Constant(
            lambda factor: {"separation": 2 * factor},
            refuted=(0.95,),
            otherwise="a larger separation is a weaker claim",
        ),
        "1/eps": Constant(lambda factor: {"factor": factor}),
        "radius eps": Constant(lambda factor: {"radius": factor}),
    },
    controls={
        "0.95 / eps": {"factor": 0.95},
        "on 1.9 eps-separated sets": {"separation": 1.9},
        "at radius 1.05 eps": {"radius": 1.05},
    },
)
