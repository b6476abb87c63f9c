"""The predicted critical perturbation ratio, compared with the measured transition.

rho* balances the adversarial push on the signal against that on the noise: a leading-order argument without a
fitted constant. Above rho* attacked training points end up fitted by memorized noise, below it by the signal that
the attack leaves: the median V_i is larger, or smaller, than (1 - rho)^q alpha^q U. Runs at 1 - rho on a grid
around 1 - rho* locate where the share of runs fitted by noise passes 1/2, for several values of every parameter:
noise norm, N, P, lambda, q, alpha, sigma_0 and d. The measured 1 - rho over the predicted one is compared on the
scale of its logarithm, 1 - rho being the small quantity.

A robust test error of 1/2 needs more: a noise response as large as what the attack leaves of the signal, which
falls with d.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.dynamics import phases
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

Law = Callable[[PatchSetting], float]
_BASE = PatchSetting(patches=2, samples=15, dim=10_000, filters=12, learning_rate=0.8, init_scale=0.05)
SETTINGS: dict[str, PatchSetting] = {
    "the base": _BASE,
    "noise norm 2": replace(_BASE, noise_norm=2.0),
    "N = 7": replace(_BASE, samples=7),
    "N = 21": replace(_BASE, samples=21),
    "P = 4": replace(_BASE, patches=4),
    "lambda = 0.2": replace(_BASE, adversarial_weight=0.2),
    "lambda = 0.8": replace(_BASE, adversarial_weight=0.8),
    "q = 2.5": replace(_BASE, exponent=2.5),
    "alpha = 1.2": replace(_BASE, signal=1.2),
    "sigma_0 = 0.1": replace(_BASE, init_scale=0.1),
    "d = 1e6": replace(_BASE, dim=10**6),
}
GRID = np.exp(np.arange(-0.08, 0.25, 0.04))
"""Tried values of (1 - rho) / (1 - rho*)."""


def check(
    *, runs: int = 2, factor: float = 1.04, tolerance: float = 0.065, seed: int = 0, law: Law = phases.critical_ratio
) -> Finding:
    """The measured 1 - rho over factor times the predicted 1 - rho*.

    Args:
        runs: seeds for each ratio.
        factor: the claimed 1.04.
        tolerance: largest accepted deviation of the logarithm of that ratio.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    ratios = {name: _measured(s, seeds) / (1 - law(s)) for name, s in SETTINGS.items()}
    off = {name: float(np.nan_to_num(abs(np.log(ratio / factor)), nan=np.inf)) for name, ratio in ratios.items()}
    name = max(off, key=lambda key: off[key])
    holds = off[name] <= tolerance
    return Finding(
        holds=holds,
        slack=tolerance / max(off[name], 1e-9),
        tested=f"{', '.join(SETTINGS)}; {len(GRID)} ratios each, {runs} seeds",
        bound=f"1 - rho within exp(+- {tolerance:g}) of {factor:g} (1 - rho*)",
        measured=", ".join(f"{ratio:.3f} (1 - rho*) at {key}" for key, ratio in ratios.items()),
        counterexample="" if holds else name,
    )


@lru_cache(maxsize=64)
def _measured(base: PatchSetting, seeds: range) -> float:
    """1 - rho at which half of the runs end fitted by memorized noise; NaN outside of the grid."""
    from cgro.dynamics.trajectory import train

    rests = (1 - phases.critical_ratio(base)) * GRID
    base = replace(base, steps=int(3 * phases.memorization_time(base)))
    batch = Runs.product([replace(base, radius_ratio=float(1 - rest)) for rest in rests], seeds)
    last = train(batch, records=2, test_samples=2, detail=False).isel(step=-1)
    shape = (len(rests), len(seeds))
    left = rests[:, None] ** base.exponent * last["signal_margin"].values.reshape(shape)
    share = (last["noise_memorization_median"].values.reshape(shape) > left).mean(1)
    below = np.flatnonzero((share[:-1] >= 0.5) & (share[1:] < 0.5))
    if not len(below):
        return float("nan")
    k = int(below[0])
    return float(np.interp(-0.5, -share[k : k + 2], rests[k : k + 2]))


CLAIM = Claim(
    statement="attacked points end up fitted by noise for 1 - rho below, and by the signal above, 1.04 (1 - "
    "rho*), to within 6.5 %",
    source="critical ratio of the patch model",
    tag="[D]",
    evidence="numerical",
    check=check,
    hypotheses={"runs >= 1": lambda runs: runs >= 1, "tolerance > 0": lambda tolerance: tolerance > 0},
    deep={"runs": 15},
    constants={
        "1.04 (1 - rho*)": Constant(lambda f: {"factor": 1.04 * f}, deep=True),
        "within 6.5 %": Constant(
            lambda f: {"tolerance": 0.065 * f},
            refuted=(),
            otherwise="accuracy of a leading-order prediction: the finding prints every ratio",
        ),
    },
    controls={
        "1 - rho* 10 % larger": {"law": lambda s: 1 - 1.1 * (1 - phases.critical_ratio(s))},
        "1 - rho* 10 % smaller": {"law": lambda s: 1 - 0.9 * (1 - phases.critical_ratio(s))},
        "without the dependence on N": {
            "law": lambda s: 1 - (1 - phases.critical_ratio(s)) * (s.samples / 15) ** (1 / 3)
        },
    },
)  # fmt: skip
