"""The tensor-power comparison: of two recursions of degree two, the one with the larger start times rate wins, and the
other one has hardly moved.

Let u_{t+1} >= u_t + A u_t^2 (the signal, q = 3) and 0 < v_{t+1} <= v_t + B v_t^2 (the noise), all positive. While
u_t <= u*

    1/v_t >= 1/v_0 - (B/A) (1 + A u*) (1/u_0 - 1/u_t),

so v_t <= 2 v_0 all the while if A u_0 >= 2 B v_0 (1 + A u*): the comparison that ends phase I. z3 decides the
induction for all real values. A step lowers 1/u by at least A / (1 + A u*) and 1/v by at most B:

    (u' - u) (1 + A u*) >= A u u',    v' - v <= B v v',

and both bounds are attained (the first at u = u*, the second in the limit of small v), so that neither constant can
be smaller.
"""

from __future__ import annotations

import math

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision


def steps(overshoot: float, noise: float, margin: float) -> dict[str, Decision]:
    """The two steps, the induction, and its consequence at 1/u_t > 0."""
    A, B, u, up, top, v, vp = z3.Reals("A B u u' u* v v'")
    a0, a, ap, b0, b, bp = z3.Reals("1/u_0 1/u 1/u' 1/v_0 1/v 1/v'")
    over, rate, twice = (z3.RealVal(str(x)) for x in (overshoot, noise, margin))
    positive = z3.And(A > 0, B > 0, u > 0, top >= u, v > 0, vp > 0)
    fall = 1 + over * A * top
    return {
        "the signal's step": prove((up - u) * fall >= A * u * up, positive, up >= u + A * u * u),
        "the noise's step": prove(vp - v <= rate * B * v * vp, positive, vp <= v + B * v * v),
        # With f = A / (1 + A u*) the claim reads (b - b0) f >= -B (a0 - a), as for every term of a sum.
        "induction": prove(
            (bp - b0) * A >= -rate * B * fall * (a0 - ap),
            *(A > 0, B > 0, top > 0, (b - b0) * A >= -rate * B * fall * (a0 - a)),
            *((a - ap) * fall >= A, b - bp <= rate * B),
        ),
        "v <= 2 v_0": prove(
            b * 2 >= b0,
            *(A > 0, B > 0, top > 0, a > 0, a0 > 0, b0 > 0, (b - b0) * A >= -rate * B * fall * (a0 - a)),
            A * b0 >= twice * B * fall * a0 * rate,
        ),
    }


def check(*, overshoot: float = 1.0, noise: float = 1.0, margin: float = 2.0) -> Finding:
    """All steps by z3.

    Args:
        overshoot: the claimed factor 1 of A u* in 1 + A u*.
        noise: the claimed factor 1 of B.
        margin: the claimed 2 in A u_0 >= 2 B v_0 (1 + A u*).
    """
    found = steps(round(overshoot, 9), round(noise, 9), round(margin, 9))
    wrong = [name for name, step in found.items() if step.holds is False]
    open_ = [name for name, step in found.items() if step.holds is None]
    holds = False if wrong else None if open_ else True
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="all real A, B, u, v > 0, and every u'>= u + A u^2, v' <= v + B v^2",
        bound=f"1/v_t >= 1/v_0 - {noise:g} (B/A) (1 + {overshoot:g} A u*) (1/u_0 - 1/u_t)",
        measured="; ".join(f"{name}: {'proved' if step.holds else 'not proved'}" for name, step in found.items()),
        counterexample=f"{wrong[0]}: {found[wrong[0]].counterexample}" if wrong else "",
    )


WEAKER = "a larger factor is a weaker claim"
CLAIM = Claim(
    statement="for A, B, u_0, v_0 > 0, if u' >= u + A u^2 and 0 < v' <= v + B v^2, then 1/v_t >= 1/v_0 - (B/A)(1 + A "
    "u*)(1/u_0 - 1/u_t) while u_t <= u*, and so v_t <= 2 v_0 if A u_0 >= 2 B v_0 (1 + A u*)",
    source="tensor-power comparison in phase I of Li & Li, ICML 2025, arXiv:2306.01271; constants derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    constants={
        "1 times A u*": Constant(lambda f: {"overshoot": f}, refuted=(0.95,), otherwise=WEAKER),
        "1 times B/A": Constant(lambda f: {"noise": f}, refuted=(0.95,), otherwise=WEAKER),
        "the 2 of A u_0 >= 2 B v_0": Constant(lambda f: {"margin": 2.0 * f}, refuted=(0.95,), otherwise=WEAKER),
        "the powers 2": Constant(None, refuted=(), otherwise="q - 1 at q = 3, which defines the recursion"),
    },
    controls={
        "without A u*": {"overshoot": 0.0},
        "0.99 A u*": {"overshoot": 0.99},
        "0.99 B": {"noise": 0.99},
        "A u_0 >= 1.98 B v_0 (1 + A u*)": {"margin": 1.98},
    },
)
