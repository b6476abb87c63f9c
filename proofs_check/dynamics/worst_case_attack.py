"""The worst case inside A(X, delta) in closed form: the attacked margin (alpha - delta)^q U if U >= 0 and rho <= 1.

A signal t in [alpha - delta, alpha + delta] gives the margin h(t) = sgn(t)|t|^q U (odd activation, label +1; the
label -1 by symmetry). h' = q |t|^(q-1) U has the sign of U on both sides of 0, so the minimum is at t = alpha -
delta for U >= 0 and at t = alpha + delta for U < 0. ReLU^q with label +1 gives h(t) = max(t, 0)^q U_+ + max(-t,
0)^q U_-: its derivative has the sign of U_+ for t > 0 and of -U_- for t < 0, so h is monotone on both sides of 0,
and its minimum over the interval is at an end, or at 0 if 0 is inside. Derivatives of the library's activations are
decided symbolically for q > 1. z3 then decides both rules: that g(t) U, g rising on both sides of 0, is smallest at the
lower end for U >= 0 and at the upper one for U < 0, and that a function monotone on both sides of 0 has its minimum
among the ends and 0. The library's attack is compared with the rule and with a fine grid of t, for rho below and
above 1.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import z3

from cgro.claims.claim import Claim, Finding
from cgro.claims.solver import prove
from cgro.dynamics.activations import Activation, activation


def derivatives_hold() -> bool:
    """d/dt phi(t) = q |t|^(q-1) on both sides of 0 for the odd activation, q t^(q-1) and 0 for ReLU^q."""
    t = sp.Symbol("t", positive=True)
    q = 1 + sp.Symbol("p", positive=True)
    power = q * t ** (q - 1)
    rising = {("odd", 1): power, ("odd", -1): power, ("relu", 1): power, ("relu", -1): 0}
    # At -t the derivative in the argument is minus that in t.
    return all(
        sp.simplify(side * sp.diff(activation(side * t, q, kind), t) - claimed) == 0  # type: ignore[arg-type]
        for (kind, side), claimed in rising.items()
    )


def minimum_is_among_the_candidates() -> bool | None:
    """For h monotone on each side of 0, rising or falling, no t inside has a smaller value than the ends and 0.

    Values of h enter as numbers that obey monotonicity.
    """
    low, high, t, at_low, at_high, at_t, at_zero = z3.Reals("low high t h(low) h(high) h(t) h(0)")

    def monotone(x: z3.ArithRef, hx: z3.ArithRef, z: z3.ArithRef, hz: z3.ArithRef, rises: z3.BoolRef) -> z3.BoolRef:
        return z3.Implies(x <= z, z3.If(rises, hx <= hz, hx >= hz))

    right, left = z3.Bools("rises_right rises_left")
    points = [(low, at_low), (high, at_high), (t, at_t), (z3.RealVal(0), at_zero)]
    given = [
        z3.Implies(z3.And(x * side >= 0, z * side >= 0), monotone(x, hx, z, hz, rises))
        for side, rises in ((1, right), (-1, left))
        for x, hx in points
        for z, hz in points
    ]
    inside = z3.And(low <= 0, high >= 0)
    smallest = z3.Or(at_t >= at_low, at_t >= at_high, z3.And(inside, at_t >= at_zero))
    return prove(smallest, low <= t, t <= high, *given).holds


def odd_rule(flip: bool) -> bool | None:
    """No t inside has a smaller g(t) U than the end of the rule, for g rising on both sides of 0 and g(0) = 0.

    flip: the lower end whatever the sign of U.
    """
    low, high, t, U, at_low, at_high, at_t = z3.Reals("low high t U g(low) g(high) g(t)")
    points = [(low, at_low), (high, at_high), (t, at_t), (z3.RealVal(0), z3.RealVal(0))]
    rises = [
        z3.Implies(z3.And(x * side >= 0, z * side >= 0, x <= z), gx <= gz)
        for side in (1, -1)
        for x, gx in points
        for z, gz in points
    ]
    end = at_low if flip else z3.If(U >= 0, at_low, at_high)
    return prove(end * U <= at_t * U, low <= t, t <= high, *rises).holds


def check(*, cases: int = 200, largest_ratio: float = 2.0, flip: bool = False, seed: int = 0) -> Finding:
    """Monotonicity symbolically; the library's worst case compared with a grid of signals.

    Args:
        cases: random networks and settings.
        largest_ratio: largest rho.
        flip: claim that the attack lowers the signal whatever the sign of U.
        seed: seed of the cases.
    """
    import torch

    from cgro.dynamics.signal_attack import attacked_margin, signal_learning

    parts = (derivatives_hold(), odd_rule(flip), minimum_is_among_the_candidates())
    proved = False if False in parts else None if None in parts else True
    generator = np.random.default_rng(seed)
    worst, where = 0.0, ""
    for k in range(cases):
        kind: Activation = ("odd", "relu")[k % 2]
        q = float(generator.choice([2.0, 2.5, 3.0]))
        u = torch.tensor(generator.standard_normal((1, 4)))
        signs = torch.tensor([1.0, 1.0, 1.0, 1.0] if kind == "odd" else [1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
        alpha = torch.tensor([generator.uniform(0.5, 3)], dtype=torch.float64)
        delta = alpha * generator.uniform(0, largest_ratio)
        U = signal_learning(u, signs, q, kind)
        claimed, _ = attacked_margin("transfer" if flip else "worst", alpha, delta, U, q)
        t = torch.linspace(float(alpha - delta), float(alpha + delta), 2001, dtype=torch.float64)
        if delta >= alpha:
            t = torch.cat([t, t.new_zeros(1)])
        for column, label in enumerate((-1.0, 1.0)):
            margins = label * (activation(label * t[:, None] * u, q, kind) @ signs)
            targets = [margins.min()]
            if kind == "odd":  # the end that the rule names
                strength = float(signs @ activation(u[0], q, kind))
                targets.append(margins[0 if flip or strength >= 0 else 2000])
            away = max(float((claimed[0, column] - target).abs()) for target in targets)
            off = away / (float(margins.abs().max()) + 1e-9)
            if off > worst:
                worst, where = off, f"case {k}, {kind}, rho = {float(delta / alpha):.2f}, y = {label:+.0f}"
    # Minima lie on the grid: its ends, and 0.
    tolerance = 1e-12
    holds = False if worst > tolerance else proved
    return Finding(
        holds=holds,
        slack=tolerance / max(worst, 1e-16) if holds else 0.0,
        tested=f"all t, q > 1; {cases} random networks and settings, rho up to {largest_ratio:g}, both activations",
        bound=f"relative difference to the minimum over 2,001 signals <= {tolerance:g}",
        measured=f"derivatives and rules {'proved' if proved else 'not proved'}; largest difference {worst:.2g}",
        counterexample=(where or "the rule") if holds is False else "",
    )


CLAIM = Claim(
    statement="for q > 1 and the odd activation the worst case inside A(X, delta) is t = alpha - delta for U >= 0 and "
    "t = alpha + delta for U < 0, at every delta; for ReLU^q it is at one of these or at t = 0",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5; worst case derived here",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"cases >= 2": lambda cases: cases >= 2, "largest_ratio > 0": lambda largest_ratio: largest_ratio > 0},
    deep={"cases": 5000},
    controls={"t = alpha - delta whatever U": {"flip": True, "cases": 40}},
)
