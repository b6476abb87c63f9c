"""Growth rates of signal and noise at small margins, kappa and kappa_n, as derivatives of the loss.

The loss of one sample is log(1 + e^-m), at a clean and at an attacked margin. A filter's components enter m through
(t u)^q, t = alpha or alpha - delta, and through v^q for a noise patch. sympy differentiates the loss along w*,
which moves u, and along the sample's own patch X, which moves v by <X, X> = sigma^2 d, the typical squared norm of
a patch, and no other patch to leading order. In phase I both margins are 0; in phase III the clean one tends to
infinity while the attacked one is still 0:

    du = kappa u^(q-1),    kappa   = (eta q alpha^q / 2) [(1 - lambda) + lambda (1 - rho)^q],
    dv = kappa_n v^(q-1),  kappa_n = eta q sigma^2 d lambda / (2 N).

kappa_n is the library's formula with symbols for the setting's fields; kappa, which the library extends to rho > 1, is
compared with it at numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.symbolic import identities
from cgro.dynamics import phases
from cgro.dynamics.setting import PatchSetting

Rate = Callable[[Any], Any]
eta, q, alpha, rho, lam, N, norm, u, eps = sp.symbols("eta q alpha rho lambda N s u epsilon", positive=True)
m = sp.Symbol("m", real=True)


def signal_rate(s: Any, two: Any = 2, power: Any = 1) -> Any:
    """kappa, as `phases.signal_rate` for rho <= 1, with the 2 and the exponents q (times `power`) as arguments."""
    weight, exponent = s.adversarial_weight, s.exponent
    attacked = (1 - s.ratio) ** (exponent * power)
    return s.learning_rate * exponent * s.signal ** (exponent * power) / two * ((1 - weight) + weight * attacked)


def step(component: sp.Expr, margin: sp.Expr) -> sp.Expr:
    """-eta times the derivative at epsilon = 0 of log(1 + e^-m), with m at a limit and `component` its moving part."""
    loss = sp.log(1 + sp.exp(-(m + component - component.subs(eps, 0))))
    return -eta * sp.limit(sp.diff(loss, eps).subs(eps, 0), m, margin)


def residuals(signal: Rate, noise: Rate) -> dict[str, sp.Expr]:
    """Steps over u^(q-1) minus the rates."""
    setting = SimpleNamespace(
        activation="odd",
        learning_rate=eta,
        exponent=q,
        signal=alpha,
        ratio=rho,
        adversarial_weight=lam,
        samples=N,
        noise_norm=norm,
    )
    rest = sp.Symbol("rest", positive=True)  # 1 - rho
    clean, attacked = (alpha * (u + eps)) ** q, (alpha * rest * (u + eps)) ** q
    # The mean over samples, all with the same signal.
    du = (1 - lam) * step(clean, sp.Integer(0)) + lam * step(attacked, sp.Integer(0))
    own = (u + eps * norm**2) ** q
    dv = ((1 - lam) * step(own, sp.oo) + lam * step(own, sp.Integer(0))) / N
    found = {
        "signal": du.subs(rest, 1 - rho) / u ** (q - 1) - signal(setting),
        "noise": dv / u ** (q - 1) - noise(setting),
    }
    return {name: _simplified(value, rest) for name, value in found.items()}


def _simplified(value: sp.Expr, rest: sp.Symbol) -> sp.Expr:
    return sp.simplify(sp.powsimp(sp.expand_power_base(sp.expand(value.subs(rho, 1 - rest)), force=True), force=True))


def check(*, signal: Rate = signal_rate, noise: Rate = phases.noise_rate) -> Finding:
    """Both identities, and that the library's signal rate is the formula at numbers."""
    settings = [
        PatchSetting(exponent=e, radius_ratio=ratio, adversarial_weight=weight)
        for e in (2.0, 2.5, 3.0)
        for ratio in (0.0, 0.5, 1.0)
        for weight in (0.0, 0.5, 1.0)
    ]
    same = all(math.isclose(phases.signal_rate(s), signal_rate(s), rel_tol=1e-14, abs_tol=1e-300) for s in settings)
    left = residuals(signal, noise) | {"library": sp.Integer(not same)}
    return identities(left, "all eta, q, alpha, rho <= 1, lambda, N and noise norms")


def _scaled(factor: float) -> dict[str, Rate]:
    """Both 2s moved."""
    two = 2 * sp.nsimplify(factor)
    return {"signal": lambda s: signal_rate(s, two), "noise": lambda s: phases.noise_rate(s) * 2 / two}


CLAIM = Claim(
    statement="for rho <= 1 a signal component u grows at (eta q alpha^q/2)[1 - lambda + lambda (1-rho)^q] u^(q-1) "
    "while clean and attacked margins are 0, a noise component v by its own patch of squared norm sigma^2 d "
    "at eta q sigma^2 d lambda/(2N) v^(q-1) while the clean margin is infinite and the attacked one 0",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phases I and III",
    tag="[N]",
    evidence="symbolic",
    check=check,
    constants={
        "alpha^q/2": Constant(lambda f: {"signal": _scaled(f)["signal"]}),
        "/(2N)": Constant(lambda f: {"noise": _scaled(f)["noise"]}),
        "the exponents q": Constant(lambda f: {"signal": lambda s: signal_rate(s, power=sp.nsimplify(f))}),
        "the exponent 2 of sigma": Constant(
            lambda f: {"noise": lambda s: phases.noise_rate(s) * s.noise_norm ** (2 * sp.nsimplify(f) - 2)}
        ),
    },
    controls={
        "noise without the factor 1/2": {"noise": lambda s: 2 * phases.noise_rate(s)},
        "attacked signal to the first power": {
            "signal": lambda s: (
                s.learning_rate * s.exponent * s.signal**s.exponent / 2 * (1 - s.adversarial_weight * s.ratio)
            )
        },
    },
)
