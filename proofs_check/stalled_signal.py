"""Phase II: the signal stalls, ds/dt = q^2 eta (1-lambda) alpha^2 s^{2-2/q} e^{-s}, so that s = Theta(log t) [D]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import sympy as sp
from scipy.integrate import solve_ivp

from cgro.dynamics.phases import stalled_signal
from cgro.dynamics.setting import PatchSetting
from cgro.verdict import Verdict

TITLE = "The signal stalls logarithmically in phase II"


def check(power: sp.Expr | None = None) -> Verdict:
    """The equation, symbolically from du/dt; its solution against an independent integrator; s / log t bounded."""
    u, alpha, q, eta, lam = sp.symbols("u alpha q eta lambda", positive=True)
    s = alpha**q * u**q
    velocity = eta * q * u ** (q - 1) * (1 - lam) * alpha**q * sp.exp(-s)
    claimed = q**2 * eta * (1 - lam) * alpha**2 * s ** (2 - 2 / q if power is None else power) * sp.exp(-s)
    residual = (
        sp.simplify(sp.powsimp(sp.expand_power_base(sp.diff(s, u) * velocity / claimed, force=True), force=True)) - 1
    )

    errors, ratios = [], []
    for exponent in (2.0, 3.0, 4.0):
        setting = replace(PatchSetting(), exponent=exponent)
        push = exponent**2 * setting.learning_rate * (1 - setting.adversarial_weight) * setting.signal**2
        for time in (1e2, 1e4, 1e6):
            solution = solve_ivp(
                lambda _, s, push=push, e=exponent: push * s ** (2 - 2 / e) * np.exp(-s),
                (0, time), [1.0], rtol=1e-10, atol=1e-12, method="LSODA",
            )  # fmt: skip
            errors.append(abs(stalled_signal(setting, time) / solution.y[0, -1] - 1))
            ratios.append(stalled_signal(setting, time) / np.log(push * time))
    tolerance, worst = 1e-6, float(max(errors))
    logarithmic = min(ratios) > 0.5 and max(ratios) < 2.0
    holds = residual == 0 and worst <= tolerance and logarithmic
    return Verdict(
        claim="ds/dt = c s^(2-2/q) e^-s with c = q^2 eta (1-lambda) alpha^2, and s / log(c t) stays bounded",
        source="Li & Li, ICML 2025, section 5, phase II",
        tag="[D]",
        evidence="symbolic",
        bound="residual 0; ratio in [0.5, 2]",
        measured=f"residual {residual}; solution off by {worst:.1g}; ratio {min(ratios):.2f} to {max(ratios):.2f}",
        slack=tolerance / max(worst, 1e-16) if residual == 0 else 0.0,
        holds=bool(holds),
    )
