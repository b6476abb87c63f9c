"""The adversarial loss exceeds the clean one by delta |grad_x L|_1, less a term of curvature.

Move along the signs s of the gradient, by an l_inf step of size t: phi(t) = L(x + t s) has phi'(0) = |grad_x L|_1. With
phi'' >= -H up to delta

    phi(delta) - phi(0) = delta phi'(0) + int_0^delta (delta - t) phi''(t) dt >= delta |grad_x L|_1 - delta^2 H / 2

The first equality is the fundamental theorem for an antiderivative that sympy differentiates, for any phi; the second
step is decided for all delta, H and gradients. Expectations of both sides over the data give the claim. Where delta E H
is at most c E |grad_x L|_1, a share 1 - c / 2 of delta E |grad_x L|_1 is left: all for losses convex in x, half for c
= 1, nothing for c = 2. Both bounds are attained for c <= 1, by L(x) = g x - H x^2 / 2 at 0, which rises on all of
the ball if delta H <= g. Some hypothesis is needed: L = sin at 0, H = 1, rises by no more than 1 in any ball,
and without the term of curvature the claim is refuted.
"""

from __future__ import annotations

import math
from fractions import Fraction

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import decide, vanishes


def taylor_holds() -> bool:
    """d/dt [(delta - t) phi'(t) + phi(t)] = (delta - t) phi''(t), for any phi."""
    t, delta = sp.symbols("t delta")
    phi = sp.Function("phi")(t)
    return bool(sp.expand(sp.diff((delta - t) * sp.diff(phi, t) + phi, t) - (delta - t) * sp.diff(phi, t, 2)) == 0)


def rise(delta: sp.Expr, gradient: sp.Expr, curvature: sp.Expr) -> sp.Expr:
    """The least rise of phi with phi' = gradient at 0 and phi'' >= -curvature: the integral with phi'' = -curvature."""
    t = sp.Symbol("t")
    return delta * gradient - curvature * sp.integrate(delta - t, (t, 0, delta))


def share_left(third: float) -> tuple[bool | None, str]:
    """delta g - delta^2 H / 2 >= (1 - c / third) delta g for all delta H <= c g, and equal for delta H = c g."""
    delta, g, c, less = sp.symbols("delta g c less", nonnegative=True)
    left = rise(delta, g, (c * g - less) / delta)
    excess = sp.expand(left - (1 - c / sp.Rational(Fraction(third).limit_denominator(1000))) * delta * g)
    above = decide(excess, {delta: 0, g: 0, c: 0, less: 0})
    if above.holds is not True:
        return above.holds, above.counterexample
    attained = vanishes(excess.subs(less, 0))
    return attained, "" if attained else "delta H = c g: it rises by more"


def check(*, first: float = 1.0, second: float = 2.0, third: float = 2.0) -> Finding:
    """L_adv - L_clean >= first delta |grad L|_1 - delta^2 H / second for all losses, and attained.

    Args:
        first: claimed factor of delta |grad L|_1.
        second: what divides delta^2 H; infinity leaves curvature out.
        third: what divides c in the share 1 - c / third.
    """
    delta, g, H, more = sp.symbols("delta g H more", nonnegative=True)
    term = sp.Integer(0) if math.isinf(second) else delta**2 * H / sp.Rational(Fraction(second).limit_denominator(1000))
    claimed = sp.Rational(Fraction(first).limit_denominator(1000)) * delta * g - term
    below = decide(sp.expand(rise(delta, g, H) - claimed), {delta: 0, g: 0, H: 0})
    # L = g x - H x^2 / 2 with g = delta H + more: L' = more + H (delta - x) >= 0, so its maximum is at delta.
    x = sp.Symbol("x", nonnegative=True)
    loss = g * x - H * x**2 / 2
    increasing = decide(sp.diff(loss, x).subs({g: delta * H + more, x: delta - x}), {H: 0, x: 0, more: 0})
    attained = bool(increasing.holds) and vanishes(loss.subs(x, delta) - claimed)
    share, why = share_left(third)
    steps = (below.holds, share, taylor_holds() and attained)
    holds = False if False in steps else None if None in steps else True
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested="all losses with second derivative >= -H along the signs of the gradient; all delta, H and gradients",
        bound=f"L_adv - L_clean >= {first:g} delta |grad L|_1 - delta^2 H / {second:g}, a share 1 - c / {third:g}",
        measured="attained by L = g x - H x^2 / 2" if attained else "not attained by L = g x - H x^2 / 2",
        counterexample="" if holds else f"L = g x - H x^2 / 2: {below.counterexample or why or 'it rises by more'}",
    )


CLAIM = Claim(
    statement="L_adv - L_clean >= delta E|grad_x L|_1 - delta^2 E H / 2 in l_inf balls of radius delta, if the second "
    "derivative of L along the signs of its gradient is at least -H there; so it is at least (1 - c / 2) delta "
    "E|grad_x L|_1 if delta E H <= c E|grad_x L|_1, c < 2; both attained for c <= 1",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section on flatness [N]; hypothesis and constants derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"first, second, third > 0": lambda first, second, third: min(first, second, third) > 0},
    constants={
        "1 in 1 delta E|grad_x L|_1": Constant(lambda factor: {"first": factor}),
        "2 in delta^2 E H / 2": Constant(lambda factor: {"second": 2 * factor}),
        "2 in 1 - c / 2": Constant(lambda factor: {"third": 2 * factor}),
        "c < 2": Constant(None, refuted=(), otherwise="where 1 - c / 2, which is attained, is positive"),
        "exponent 2 of delta^2": Constant(
            None, refuted=(), otherwise="fixed by units: delta^2 times a second derivative is a loss"
        ),
    },
    controls={
        "without a hypothesis on curvature": {"second": math.inf},
        "with factor 1.05": {"first": 1.05},
        "with half of the term of curvature": {"second": 4.0},
        "a share 1 - c / 2.1": {"third": 2.1},
    },
)
