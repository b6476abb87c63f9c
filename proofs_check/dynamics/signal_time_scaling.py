"""The end of signal growth: T_0 = (u_0^-(q-2) - u_1^-(q-2)) / ((q-2) kappa), hence Theta~(1 / (eta alpha^3 sigma_0))
at q = 3.

While margins are small psi = 1/2 and du/dt = kappa u^(q-1), kappa = (eta q alpha^q / 2)[(1-lambda) + lambda
(1-rho)^q]. That the closed form solves the equation, and its limit q -> 2, are verified symbolically; the exponents
of T_0 are fitted on trajectories with small sigma_0, where 1/u_0 >> alpha.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.dynamics.setting import PatchSetting

from .common import draw_exponents, exponents

CLAIMED = {"learning_rate": -1.0, "init_scale": -1.0, "signal": -3.0}
_VALUES = {"learning_rate": (0.004, 0.008, 0.016), "init_scale": (0.005, 0.01, 0.02), "signal": (1.2, 1.6, 2.2)}


def closed_form_solves() -> bool:
    """dT/du_1 = 1 / (kappa u_1^(q-1)), T = 0 at u_1 = u_0, and T -> log(u_1 / u_0) / kappa as q -> 2."""
    u0, u1, kappa, p = sp.symbols("u_0 u_1 kappa p", positive=True)  # p = q - 2
    T = (u0**-p - u1**-p) / (p * kappa)
    derivative = sp.simplify(sp.diff(T, u1) - 1 / (kappa * u1 ** (p + 1)))
    return bool(
        derivative == 0
        and sp.simplify(T.subs(u1, u0)) == 0
        and sp.simplify(sp.limit(T, p, 0) - (sp.log(u1) - sp.log(u0)) / kappa) == 0
    )


def check(*, runs: int = 10, tolerance: float = 0.2, seed: int = 0, powers: dict[str, float] | None = None) -> Finding:
    """Closed form symbolically; exponents of T_0 in eta, sigma_0 and alpha.

    Args:
        runs: seeds for each value.
        tolerance: accepted deviation of an exponent.
        seed: first seed.
    """
    solved = closed_form_solves()
    base = PatchSetting(patches=2, dim=1000, samples=8, steps=24_000, learning_rate=0.008, init_scale=0.01)
    found = exponents("T_0", base, _VALUES, powers or CLAIMED, range(1000 * seed, 1000 * seed + runs), tolerance)
    return replace(
        found,
        holds=found.holds if solved else False,
        slack=found.slack if solved else 0.0,
        measured=f"closed form {'verified' if solved else 'wrong'}; {found.measured}",
    )


CLAIM = Claim(
    statement="signal growth ends at T_0 = Theta~(1 / (eta alpha^3 sigma_0)) at q = 3",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phase I",
    tag="[N]",
    evidence="asymptotic",
    check=check,
    draw=draw_exponents,
    hypotheses={"runs >= 2": lambda runs: runs >= 2},
    deep={"runs": 40},
    controls={
        "alpha^-2": {"powers": {"signal": -2.0}, "runs": 2},
        "sigma_0^-2": {"powers": {"init_scale": -2.0}, "runs": 2},
    },
)
