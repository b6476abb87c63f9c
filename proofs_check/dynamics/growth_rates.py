"""Growth rates of signal and noise at small margins: kappa and kappa_n, from the recursion.

With psi = 1/2 at both margins the recursion for one filter reads du = eta q u^(q-1) [(1-lambda) alpha^q + lambda
(alpha-delta)^q] / 2. In phase III the clean margin is large, psi^c = 0, while the adversarial one is still small,
psi^a = 1/2; a sample's own noise patch then gives dv = (eta q / N) (lambda / 2) v^(q-1) <X, X>, E <X, X> = sigma^2 d.
Both are compared symbolically with the library's formulas, entered as symbols through the setting's fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import identities
from cgro.dynamics import phases
from cgro.dynamics.setting import PatchSetting

Rate = Callable[[Any], Any]


def signal_rate(s: Any) -> Any:
    """kappa = (eta q alpha^q / 2) [(1 - lambda) + lambda (1 - rho)^q], as `phases.signal_rate` for rho <= 1."""
    lam = s.adversarial_weight
    return s.learning_rate * s.exponent * s.signal**s.exponent / 2 * ((1 - lam) + lam * (1 - s.ratio) ** s.exponent)


def residuals(signal: Rate, noise: Rate) -> list[sp.Expr]:
    """Recursion at psi = 1/2 minus rate times power, for signal and noise."""
    eta, q, alpha, rho, lam, N, norm, u = sp.symbols("eta q alpha rho lambda N s u", positive=True)
    setting = SimpleNamespace(
        learning_rate=eta, exponent=q, signal=alpha, ratio=rho, adversarial_weight=lam, samples=N, noise_norm=norm
    )
    half = sp.Rational(1, 2)
    # (alpha - delta)^q = alpha^q (1 - rho)^q for rho <= 1.
    du = eta * q * u ** (q - 1) * ((1 - lam) * half * alpha**q + lam * half * alpha**q * (1 - rho) ** q)
    dv = eta * q / N * (lam * half) * u ** (q - 1) * norm**2
    return [sp.simplify(du / u ** (q - 1) - signal(setting)), sp.simplify(dv / u ** (q - 1) - noise(setting))]


def check(*, signal: Rate = signal_rate, noise: Rate = phases.noise_rate) -> Finding:
    """Both identities, and that the library's signal rate is the formula at numbers."""
    found = residuals(signal, noise)
    settings = [
        PatchSetting(exponent=q, radius_ratio=rho, adversarial_weight=lam)
        for q in (2.0, 2.5, 3.0)
        for rho in (0.0, 0.5, 1.0)
        for lam in (0.0, 0.5, 1.0)
    ]
    same = all(math.isclose(phases.signal_rate(s), signal_rate(s), rel_tol=1e-14, abs_tol=1e-300) for s in settings)
    left = {"signal": found[0], "noise": found[1], "library": sp.Integer(not same)}
    return identities(left, "all eta, q, alpha, rho <= 1, lambda, N and noise norms")


CLAIM = Claim(
    statement="signal grows at (eta q alpha^q/2)[1 - lambda + lambda (1-rho)^q], noise at eta q sigma^2 d lambda/(2N)",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phases I and III",
    tag="[N]",
    evidence="symbolic",
    check=check,
    controls={
        "noise without the factor 1/2": {"noise": lambda s: 2 * phases.noise_rate(s)},
        "attacked signal to the first power": {
            "signal": lambda s: (
                s.learning_rate * s.exponent * s.signal**s.exponent / 2 * (1 - s.adversarial_weight * s.ratio)
            )
        },
    },
)
