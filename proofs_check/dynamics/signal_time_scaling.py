"""The end of signal growth: T_0 = (u_0^-(q-2) - u_1^-(q-2)) / ((q-2) kappa), hence Theta~(1 / (eta alpha^3 sigma_0))
at q = 3.

While margins are small psi = 1/2 and du/dt = kappa u^(q-1), kappa = (eta q alpha^q / 2)[(1-lambda) + lambda (1-rho)^q].
That the closed form solves the equation, and its limit q -> 2, are verified symbolically; the exponents of T_0 are
fitted on trajectories with sigma_0 so small that 1/u_0 >> alpha, over a factor of 2.2 in alpha, 4 in eta and 8 in
sigma_0. Theta~ hides how large the largest of m initial components is, a factor sqrt(2 log m): every run's time is
multiplied by its own.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.dynamics.phases import signal_time
from cgro.dynamics.runs import gram_draw
from cgro.dynamics.setting import PatchSetting

from .common import draw_exponents, exponents

CLAIMED = {"learning_rate": -1.0, "init_scale": -1.0, "signal": -3.0}
_BASE = PatchSetting(patches=2, dim=10**6, samples=6, learning_rate=0.02, init_scale=1e-3, noise_norm=0.3)
_VALUES = {
    "learning_rate": (_BASE, (0.01, 0.015, 0.025, 0.04)),
    "init_scale": (_BASE, (5e-4, 1e-3, 2e-3, 4e-3)),
    "signal": (_BASE, (1.0, 1.3, 1.7, 2.2)),
}


def largest_start(setting: PatchSetting, seed: int) -> float:
    """The largest u_r at initialization, in units of sigma_0."""
    return float(gram_draw(setting, seed).signal_projection[0].max())


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


def _patience(setting: PatchSetting) -> float:
    return 2 * signal_time(setting)


def check(*, runs: int = 4, tolerance: float = 0.03, seed: int = 0, powers: dict[str, float] | None = None) -> Finding:
    """Closed form symbolically; exponents of T_0 in eta, sigma_0 and alpha.

    Args:
        runs: seeds for each value.
        tolerance: accepted deviation of an exponent.
        seed: first seed.
    """
    solved = closed_form_solves()
    seeds = range(1000 * seed, 1000 * seed + runs)
    found = exponents("T_0", _VALUES, powers or CLAIMED, seeds, tolerance, expected=_patience, start=largest_start)
    return replace(
        found,
        holds=found.holds if solved else False,
        slack=found.slack if solved else 0.0,
        measured=f"closed form {'verified' if solved else 'wrong'}; {found.measured}",
    )


CLAIM = Claim(
    statement="where the signal wins the race (P = 2, N = 6, q = 3, noise norm 0.3, lambda = 1/2, sigma_0 far below "
    "1/alpha, and the ranges fitted) signal growth ends at T_0, which in units of the largest start scales as 1 / (eta "
    "alpha^3 sigma_0)",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phase I",
    tag="[N]",
    evidence="asymptotic",
    check=check,
    draw=draw_exponents,
    hypotheses={"runs >= 2": lambda runs: runs >= 2},
    deep={"runs": 20},
    constants={
        "the exponent 1 of eta": Constant(lambda f: {"powers": {"learning_rate": -f}}),
        "the exponent 1 of sigma_0": Constant(lambda f: {"powers": {"init_scale": -f}}),
        "alpha^3": Constant(lambda f: {"powers": {"signal": -3 * f}}),
        "q = 3": Constant(None, refuted=(), otherwise="the exponents follow from q, which defines the network"),
        "P = 2, N = 6, noise norm 0.3, lambda = 1/2": Constant(
            None, refuted=(), otherwise="the base: where noise wins the race, it ends the growth of the signal"
        ),
    },
    controls={
        "alpha^-2": {"powers": {"signal": -2.0}},
        "alpha^-2.85": {"powers": {"signal": -2.85}},
        "sigma_0^-2": {"powers": {"init_scale": -2.0}},
    },
)
