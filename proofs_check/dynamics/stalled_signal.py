"""Phase II: the signal stalls, ds/dt = c s^p psi(s) with p = 2 - 2/q and c = q^2 eta (1-lambda) alpha^2, so that
s = log(c t) + p log s + o(1), and s = Theta(log t).

It is the gradient flow of the loss of the signal alone, (1-lambda) log(1 + e^-(alpha u)^q) + lambda log(1 +
e^-((1-rho) alpha u)^q), with one filter that carries it, and without an adversarial push: lambda = 0 or rho = 1. With s
= (alpha u)^q, sympy differentiates the loss and finds the equation, psi(s) = 1/(1 + e^s).

As 1/psi = 1 + e^s, a solution from s = 1 obeys

    c t = I(s) + R(s),    I(s) = int_1^s e^x x^-p dx,    R(s) = int_1^s x^-p dx <= log s,

and e^-s in place of psi, as in the library, leaves out R alone: e^-s - e^-2s <= psi <= e^-s, decided by z3. For the
Laplace step let E(s) = e^s s^-p, E' = e^s s^-p (1 - p/s). For s >= a > p z3 decides 1 - p/s <= 1 <= (1 - p/s) / (1
- p/a), so that E' <= I' <= E' / (1 - p/a): integrated, E(s) - e <= I(s) <= I(a) + (E(s) - E(a)) / (1 - p/a). E
tends to infinity faster than log s, and a is arbitrary: c t e^-s s^p -> 1. Taking logarithms, s / log(c t) -> 1.
The library's solution is compared with an independent integrator, and with both bounds at a = s - sqrt(s).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import sympy as sp
import z3
from scipy.integrate import quad, solve_ivp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.dynamics.phases import stalled_signal
from cgro.dynamics.setting import PatchSetting

Law = Callable[[sp.Expr], sp.Expr]
Rate = Callable[[sp.Expr, sp.Expr], sp.Expr]


def exponent(q: sp.Expr) -> sp.Expr:
    """p, the power of s in ds/dt: 2 - 2/q."""
    return 2 - 2 / q


def coefficient(q: sp.Expr, alpha: sp.Expr) -> sp.Expr:
    """c / (eta (1 - lambda)): q^2 alpha^2."""
    return q**2 * alpha**2


def equation_holds(power: Law, rate: Rate) -> bool:
    """ds/dt = (ds/du)(du/dt), du/dt = -eta dL/du, is the claimed right-hand side, for lambda = 0 and for rho = 1."""
    u, alpha, q, eta, lam, rest = sp.symbols("u alpha q eta lambda rest", positive=True)
    s = alpha**q * u**q
    attacked = rest**q * s  # rest = 1 - rho
    loss = (1 - lam) * sp.log(1 + sp.exp(-s)) + lam * sp.log(1 + sp.exp(-attacked))
    claimed = rate(q, alpha) * eta * (1 - lam) * s ** power(q) / (1 + sp.exp(s))
    ratio = sp.diff(s, u) * -eta * sp.diff(loss, u) / claimed
    cases = (ratio.subs(lam, 0), ratio.subs(rest, 0))
    return all(sp.simplify(sp.powsimp(sp.expand_power_base(case, force=True), force=True)) == 1 for case in cases)


def steps() -> dict[str, bool | None]:
    """psi, E', the comparison of E' and I', and the two limits."""
    x, s, a, p = z3.Reals("e^-s s a p")
    psi = prove(z3.And(x - x * x <= x / (1 + x), x / (1 + x) <= x), x > 0, x < 1)
    laplace = prove(z3.And(1 - p / s <= 1, (1 - p / s) / (1 - p / a) >= 1), p > 0, a > p, s >= a)
    S, P = sp.symbols("s p", positive=True)
    E = sp.exp(S) * S**-P
    derivative = sp.simplify(sp.diff(E, S) / E - (1 - P / S)) == 0
    # E beats log s for 1 <= p < 2, and p log s is small against s.
    limits = sp.limit(sp.log(S) * S**2 / sp.exp(S), S, sp.oo) == 0 and sp.limit(sp.log(S) / S, S, sp.oo) == 0
    return {"psi": psi.holds, "Laplace": laplace.holds, "E'": derivative, "limits": limits}


def check(*, longest: float = 1e6, power: Law = exponent, rate: Rate = coefficient) -> Finding:
    """Equation, bounds and limits; the solution against an independent integrator.

    Args:
        longest: time up to which the solutions are compared, in steps.
    """
    parts = {"the equation": equation_holds(power, rate)} | steps()
    errors, ratios, inside = [], [], True
    for q in (2.0, 3.0, 4.0):
        setting = replace(PatchSetting(), exponent=q)
        push = q**2 * setting.learning_rate * (1 - setting.adversarial_weight) * setting.signal**2
        p = 2 - 2 / q
        for time in np.geomspace(1e2, longest, 3):
            solution = solve_ivp(
                lambda _, s, push=push, p=p: push * s**p * np.exp(-s),
                (0, time), [1.0], rtol=1e-10, atol=1e-12, method="LSODA",
            )  # fmt: skip
            s = stalled_signal(setting, float(time))
            errors.append(abs(s / solution.y[0, -1] - 1))
            E = np.exp(s) * s**-p
            a = s - np.sqrt(s)
            upper = quad(lambda x, p=p: np.exp(x) * x**-p, 1.0, a)[0] + (E - np.exp(a) * a**-p) / (1 - p / a)
            inside &= bool(E - np.e <= push * time * (1 + 1e-6) and push * time <= upper * (1 + 1e-6))
            ratios.append(push * time / E)
    tolerance, worst = 1e-6, float(max(errors))
    parts |= {"the library's solution": worst <= tolerance, "its bounds": inside}
    wrong = [name for name, part in parts.items() if part is False]
    holds = False if wrong else None if None in parts.values() else True
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested=f"all q >= 2, eta, lambda, alpha, s; solutions for q = 2, 3, 4 to t = {longest:g}",
        bound="identities and limits; solution within 1e-6",
        measured=f"{len(wrong)} of {len(parts)} parts fail; the library's solution off by {worst:.1g}",
        constant=f"c t e^-s s^p from {min(ratios):.2f} to {max(ratios):.2f} up to that time",
        counterexample=wrong[0] if wrong else "",
    )


CLAIM = Claim(
    statement="if one filter carries the signal, u > 0, without noise, lambda = 0 or (rho = 1 and lambda < 1), and q "
    ">= 2, then gradient flow has ds/dt = c s^p psi(s) for s = (alpha u)^q with p = 2 - 2/q and c = q^2 eta (1-lambda) "
    "alpha^2, and c t s^p e^-s -> 1 as t -> infinity",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phase II",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"longest > 100": lambda longest: longest > 100},
    deep={"longest": 1e9},
    constants={
        "the first 2 of 2 - 2/q": Constant(lambda f: {"power": lambda q: 2 * sp.nsimplify(f) - 2 / q}),
        "the second 2 of 2 - 2/q": Constant(lambda f: {"power": lambda q: 2 - 2 * sp.nsimplify(f) / q}),
        "q^2": Constant(lambda f: {"rate": lambda q, alpha: q ** (2 * sp.nsimplify(f)) * alpha**2}),
        "alpha^2": Constant(lambda f: {"rate": lambda q, alpha: q**2 * alpha ** (2 * sp.nsimplify(f))}),
    },
    controls={
        "exponent 3/2": {"power": lambda q: sp.Rational(3, 2), "longest": 1e3},
        "exponent 2 - 1/q": {"power": lambda q: 2 - 1 / q, "longest": 1e3},
        "q alpha^2": {"rate": lambda q, alpha: q * alpha**2, "longest": 1e3},
    },
)
