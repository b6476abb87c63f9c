"""Phase II: the signal stalls, ds/dt = q^2 eta (1-lambda) alpha^2 s^{2-2/q} e^{-s}, so that s = Theta(log t).

With s = alpha^q u^q (one filter carries the signal), du/dt = eta q u^{q-1} (1-lambda) alpha^q e^{-s}, with e^{-s} in
place of psi at margin s. The equation follows symbolically. Its solution obeys int_1^s e^x x^{2/q-2} dx = c t, and
the integral is e^s s^{2/q-2} (1 + o(1)), so s / log(c t) -> 1: the limit is taken symbolically. The library's
solution is compared with an independent integrator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import sympy as sp
from scipy.integrate import solve_ivp

from cgro.claims.claim import Claim, Finding
from cgro.dynamics.phases import stalled_signal
from cgro.dynamics.setting import PatchSetting

Law = Callable[[sp.Expr], sp.Expr]


def exponent(q: sp.Expr) -> sp.Expr:
    """The power of s in ds/dt: 2 - 2/q."""
    return 2 - 2 / q


def equation_holds(power: Law) -> bool:
    """ds/dt = (ds/du)(du/dt) compared with the claimed right-hand side."""
    u, alpha, q, eta, lam = sp.symbols("u alpha q eta lambda", positive=True)
    s = alpha**q * u**q
    velocity = eta * q * u ** (q - 1) * (1 - lam) * alpha**q * sp.exp(-s)
    claimed = q**2 * eta * (1 - lam) * alpha**2 * s ** power(q) * sp.exp(-s)
    ratio = sp.expand_power_base(sp.diff(s, u) * velocity / claimed, force=True)
    return bool(sp.simplify(sp.powsimp(ratio, force=True)) == 1)


def logarithmic(power: Law) -> bool:
    """s / log of (e^s s^-power) -> 1, for q = 2, 3, 4 and any power that does not grow."""
    s = sp.Symbol("s", positive=True)
    return all(sp.limit(s / (s - power(sp.Integer(q)) * sp.log(s)), s, sp.oo) == 1 for q in (2, 3, 4))


def check(*, longest: float = 1e6, power: Law = exponent) -> Finding:
    """Equation and limit symbolically; the solution against an independent integrator.

    Args:
        longest: time up to which the solutions are compared, in steps.
    """
    proved = equation_holds(power) and logarithmic(power)
    errors, ratios = [], []
    for q in (2.0, 3.0, 4.0):
        setting = replace(PatchSetting(), exponent=q)
        push = q**2 * setting.learning_rate * (1 - setting.adversarial_weight) * setting.signal**2
        for time in np.geomspace(1e2, longest, 3):
            solution = solve_ivp(
                lambda _, s, push=push, q=q: push * s ** (2 - 2 / q) * np.exp(-s),
                (0, time),
                [1.0],
                rtol=1e-10,
                atol=1e-12,
                method="LSODA",
            )
            errors.append(abs(stalled_signal(setting, float(time)) / solution.y[0, -1] - 1))
            ratios.append(stalled_signal(setting, float(time)) / np.log(push * time))
    tolerance, worst = 1e-6, float(max(errors))
    holds = proved and worst <= tolerance
    return Finding(
        holds=holds,
        slack=tolerance / max(worst, 1e-16) if proved else 0.0,
        tested=f"all q, eta, lambda, alpha; solutions for q = 2, 3, 4 to t = {longest:g}",
        bound="identity; solution within 1e-6",
        measured=f"equation and limit {'proved' if proved else 'not proved'}; solution off by {worst:.1g}",
        constant=f"s / log(c t) from {min(ratios):.2f} to {max(ratios):.2f} up to that time",
        counterexample="" if proved else "ds/dt differs by a power of s",
    )


CLAIM = Claim(
    statement="ds/dt = c s^(2-2/q) e^-s with c = q^2 eta (1-lambda) alpha^2, and s / log(c t) -> 1",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phase II",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"longest > 100": lambda longest: longest > 100},
    deep={"longest": 1e9},
    controls={
        "exponent 3/2": {"power": lambda q: sp.Rational(3, 2), "longest": 1e3},
        "exponent 2 - 1/q": {"power": lambda q: 2 - 1 / q, "longest": 1e3},
    },
)
