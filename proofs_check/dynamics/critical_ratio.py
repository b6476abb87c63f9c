"""The predicted critical perturbation ratio, compared with the measured transition.

rho* balances the adversarial push on the signal against that on the noise: a leading-order argument without a fitted
constant. Runs at ratios around rho* locate where the robust test error crosses 1/4, for several noise norms; the
distance in rho is compared with a tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Finding
from cgro.dynamics import phases
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

Law = Callable[[PatchSetting], float]
LEVEL = 0.25
"""Robust test error from which training counts as ending in CGRO: half of the value it ends with."""


def check(
    *,
    noise_norms: tuple[float, ...] = (0.6, 1.0, 1.6),
    runs: int = 2,
    tolerance: float = 0.03,
    seed: int = 0,
    law: Law = phases.critical_ratio,
) -> Finding:
    """Distance between the measured crossing and rho*.

    Args:
        noise_norms: norms sigma sqrt(d) of a noise patch.
        runs: seeds for each ratio.
        tolerance: largest accepted distance in rho.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    bases = [PatchSetting(patches=2, noise_norm=norm) for norm in noise_norms]
    distances = [abs(_measured(base, seeds) - law(base)) for base in bases]
    worst = float(max(distances))
    found = ", ".join(f"{d:.3f} at {norm:g}" for d, norm in zip(distances, noise_norms, strict=True))
    return Finding(
        holds=worst <= tolerance,
        slack=tolerance / max(worst, 1e-9),
        tested=f"noise norms {', '.join(f'{n:g}' for n in noise_norms)}, 13 ratios around rho*, {runs} seeds",
        bound=f"|rho - rho*| <= {tolerance:g}",
        measured=f"distance {found}",
        counterexample="" if worst <= tolerance else f"noise norm {noise_norms[int(np.argmax(distances))]:g}",
    )


@lru_cache(maxsize=64)
def _measured(base: PatchSetting, seeds: range) -> float:
    """The ratio at which the mean robust test error crosses the level."""
    from cgro.dynamics.trajectory import train

    ratios = phases.critical_ratio(base) + np.linspace(-0.06, 0.06, 13)
    batch = Runs.product([replace(base, radius_ratio=float(r)) for r in ratios], seeds)
    error = train(batch, records=2, test_samples=512, detail=False)["robust_test_error"].isel(step=-1).values
    return _crossing(ratios, error.reshape(len(ratios), len(seeds)).mean(1))


def _crossing(ratios: np.ndarray, error: np.ndarray) -> float:
    above = np.flatnonzero((error[:-1] < LEVEL) & (error[1:] >= LEVEL))
    if not len(above):
        return float("inf")
    k = int(above[0])
    return float(np.interp(LEVEL, error[k : k + 2], ratios[k : k + 2]))


CLAIM = Claim(
    statement="training ends in CGRO above the critical ratio rho* and robust below it",
    source="critical ratio of the patch model",
    tag="[D]",
    evidence="numerical",
    check=check,
    hypotheses={"runs >= 1": lambda runs: runs >= 1, "noise norms > 0": lambda noise_norms: min(noise_norms) > 0},
    deep={"noise_norms": (0.5, 0.7, 1.0, 1.4, 2.0), "runs": 20},
    controls={
        "1 - rho* 1.6 times as large": {
            "law": lambda s: 1 - 1.6 * (1 - phases.critical_ratio(s)),
            "noise_norms": (1.6,),
            "runs": 1,
        },
        "1 - rho* half as large": {
            "law": lambda s: 1 - 0.5 * (1 - phases.critical_ratio(s)),
            "noise_norms": (1.6,),
            "runs": 1,
        },
    },
)
