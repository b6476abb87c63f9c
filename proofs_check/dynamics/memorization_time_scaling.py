"""How the memorization time scales: T_1 = Theta~(N / (eta lambda sigma_0 s^3)) at q = 3, s = sigma sqrt(d) the norm
of a noise patch.

Exponents of T_1 are fitted on simulated trajectories, where T_1 >> T_0. Theta~ hides logarithms of N, and T_1
includes T_0 and the end of growth, so an exponent is compared with a tolerance.
"""

from __future__ import annotations

from cgro.claims.claim import Claim, Finding
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
_VALUES = {
    "samples": (20, 35, 60),
    "adversarial_weight": (0.3, 0.5, 0.75),
    "learning_rate": (0.1, 0.16, 0.26),
    "init_scale": (0.03, 0.045, 0.07),
    "noise_norm": (0.8, 1.0, 1.25),
    "dim": (300, 1000, 3000),
}


def check(*, runs: int = 8, tolerance: float = 0.25, seed: int = 0, powers: dict[str, float] | None = None) -> Finding:
    """Exponents of T_1 in N, lambda, eta, sigma_0, the norm of a noise patch, and d at a fixed norm.

    Args:
        runs: seeds for each value.
        tolerance: accepted deviation of an exponent.
        seed: first seed.
    """
    base = PatchSetting(patches=2, dim=1000, filters=12, steps=9_000, learning_rate=0.2, init_scale=0.05)
    return exponents("T_1", base, _VALUES, powers or CLAIMED, range(1000 * seed, 1000 * seed + runs), tolerance)


CLAIM = Claim(
    statement="the memorization time T_1 scales as N / (eta lambda sigma_0 sigma^3 d^(3/2)) at q = 3",
    source="Li & Li, ICML 2025, arXiv:2306.01271, section 5, phase III",
    tag="[N]",
    evidence="asymptotic",
    check=check,
    draw=draw_exponents,
    hypotheses={"runs >= 2": lambda runs: runs >= 2},
    deep={"runs": 40},
    controls={
        "N^(1/2)": {"powers": {"samples": 0.5}, "runs": 5},
        "lambda^-2": {"powers": {"adversarial_weight": -2.0}, "runs": 3},
        "(sigma sqrt d)^-2": {"powers": {"noise_norm": -2.0}, "runs": 3},
    },
)
