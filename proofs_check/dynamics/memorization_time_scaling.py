"""How the memorization time scales: T_1 = Theta~(N / (eta lambda sigma_0 s^3)) at q = 3, s = sigma sqrt(d) the norm
of a noise patch.

Exponents of T_1 are fitted on simulated trajectories, over a factor of 2 in the norm and of 4 or more in the others,
with d far above the number of noise patches and sigma_0 so small that T_0 and the end of growth hardly count. Theta~
hides how large the largest of m initial components is, a factor sqrt(2 log m): every run's time is multiplied by its
own, the median over samples of the largest y_i v_rij(0), in units of sigma_0 s.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.dynamics.phases import memorization_time
from cgro.dynamics.runs import gram_draw
from cgro.dynamics.setting import PatchSetting

from .common import draw_exponents, exponents

CLAIMED = {
    "samples": 1.0,
    "adversarial_weight": -1.0,
    "learning_rate": -1.0,
    "init_scale": -1.0,
    "noise_norm": -3.0,
    "dim": 0.0,
}
_BASE = PatchSetting(patches=2, samples=17, dim=10**7, filters=12, learning_rate=1.6, init_scale=0.004)
_VALUES = {
    "samples": (replace(_BASE, learning_rate=4.0), (9, 17, 33, 65)),
    "adversarial_weight": (_BASE, (0.15, 0.3, 0.5, 0.8)),
    "learning_rate": (_BASE, (0.6, 1.0, 1.6, 2.4)),
    "init_scale": (_BASE, (0.002, 0.004, 0.008, 0.016)),
    "noise_norm": (_BASE, (0.45, 0.6, 0.75, 0.9)),
    "dim": (_BASE, (10**4, 10**5, 10**6, 10**8)),
}


def largest_start(setting: PatchSetting, seed: int) -> float:
    """The median over samples of the largest y_i v_rij at initialization, in units of sigma_0 sigma sqrt(d)."""
    draw = gram_draw(setting, seed)
    signed = np.repeat(draw.labels, setting.patches - 1) * draw.noise_projection
    by_sample = signed.reshape(setting.filters, setting.samples, -1).max(axis=(0, 2))
    return float(np.median(by_sample)) / setting.dim**0.5


def check(*, runs: int = 4, tolerance: float = 0.12, seed: int = 0, powers: dict[str, float] | None = None) -> Finding:
    """Exponents of T_1 in N, lambda, eta, sigma_0, the norm of a noise patch, and d at a fixed norm.

    Args:
        runs: seeds for each value.
        tolerance: accepted deviation of an exponent.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    return exponents(
        "T_1", _VALUES, powers or CLAIMED, seeds, tolerance, expected=memorization_time, start=largest_start
    )


CLAIM = Claim(
    statement="where the signal wins the race (P = 2, m = 12, q = 3, alpha = 2, rho = 1 - 1/(sqrt(d) log d) above "
    "rho*, d far above N, and the ranges fitted) the memorization time T_1, in units of the largest start of a typical "
    "sample, scales as N / (eta lambda sigma_0 sigma^3 d^(3/2))",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phase III",
    tag="[N]",
    evidence="asymptotic",
    check=check,
    draw=draw_exponents,
    hypotheses={"runs >= 2": lambda runs: runs >= 2},
    deep={"runs": 20, "tolerance": 0.025},
    constants={
        "the exponent 1 of N": Constant(lambda f: {"powers": {"samples": f}}, deep=True),
        "the exponent 1 of lambda": Constant(lambda f: {"powers": {"adversarial_weight": -f}}, deep=True),
        "the exponent 1 of eta": Constant(lambda f: {"powers": {"learning_rate": -f}}, deep=True),
        "the exponent 1 of sigma_0": Constant(lambda f: {"powers": {"init_scale": -f}}, deep=True),
        "sigma^3 d^(3/2), a power 3 of the norm": Constant(lambda f: {"powers": {"noise_norm": -3 * f}}, deep=True),
        "d at a fixed norm, to the 0": Constant(lambda f: {"powers": {"dim": f - 1}}, deep=True),
        "q = 3": Constant(None, refuted=(), otherwise="the exponents follow from q, which defines the network"),
        "P = 2, m = 12, alpha = 2, rho = 1 - 1/(sqrt(d) log d)": Constant(
            None, refuted=(), otherwise="the base: where noise wins the race, T_1 does not depend on lambda"
        ),
    },
    controls={
        "N^(1/2)": {"powers": {"samples": 0.5}},
        "N^0.8": {"powers": {"samples": 0.8}},
        "d^0.25": {"powers": {"dim": 0.25}},
        "lambda^-2": {"powers": {"adversarial_weight": -2.0}},
        "(sigma sqrt d)^-2": {"powers": {"noise_norm": -2.0}},
    },
)
