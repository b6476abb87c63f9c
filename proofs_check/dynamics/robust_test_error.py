"""CGRO under the paper's scaling: clean test error near 0 and robust test error near 1/2 in most runs, from d = 100 on.

alpha = d^0.249, sigma = d^-0.509, delta = alpha (1 - 1/(sqrt d log d)); N, P, m stay fixed, and steps grow as the
step size shrinks. Errors come from the law of a fresh sample given the trained filters, by Monte Carlo over noise.
Each run is one trial; it succeeds with clean test error at most 0.01 and robust test error at least 0.4. An exact
lower bound of the probability (Clopper & Pearson, all d together) must exceed the claimed one.

With N, P, m fixed the probability does not tend to 1: runs that memorize some sample late end with a large signal and
a robust test error below 1/2, more often for larger d. In the theorem N and m grow.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Finding
from cgro.claims.confidence import proportion_interval
from cgro.claims.outcomes import at_least, together
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

CONFIDENCE = 0.99


def check(
    *,
    dims: tuple[int, ...] = (100, 800, 6400),
    runs: int = 30,
    probability: float = 0.6,
    robust: float = 0.4,
    ratio: float = -1.0,
    seed: int = 0,
) -> Finding:
    """Share of runs that end in CGRO, for each d.

    Args:
        dims: dimensions d of a patch.
        runs: seeds for each d.
        probability: claimed lower bound of the probability.
        robust: smallest robust test error that counts.
        ratio: rho = delta / alpha; a negative value takes the paper's.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    level = 1 - (1 - CONFIDENCE) / len(dims)
    intervals, found = [], []
    for d in dims:
        clean, attacked = _errors(d, None if ratio < 0 else ratio, seeds)
        ended = int(((clean <= 0.01) & (attacked >= robust)).sum())
        intervals.append(proportion_interval(ended, runs, level))
        found.append(f"d = {d}: {ended} of {runs}, median robust test error {np.median(attacked):.3f}")
    outcomes = [at_least(low, high, probability) for low, high in intervals]
    verdict = together(*outcomes)
    return Finding(
        holds=verdict.holds,
        slack=verdict.slack,
        tested=f"d = {dims[0]} to {dims[-1]}, N = 20, P = 4, m = 10, {runs} seeds each",
        bound=f"probability >= {probability:g}",
        measured="; ".join(found),
        constant=f"probability at least {min(low for low, _ in intervals):.3f}",
        counterexample=next((f"d = {d}" for d, o in zip(dims, outcomes, strict=True) if o.holds is False), ""),
        confidence=CONFIDENCE,
    )


@lru_cache(maxsize=64)
def _errors(d: int, ratio: float | None, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """Clean and robust test error of every run at the end."""
    from cgro.dynamics.trajectory import train

    slower = (d / 100) ** 0.5
    setting = PatchSetting(
        samples=20, patches=4, dim=d, filters=10, signal=d**0.249, noise_norm=d**-0.009, radius_ratio=ratio,
        steps=int(6000 * slower), learning_rate=0.2 / slower,
    )  # fmt: skip
    last = train(Runs.product([setting], seeds), records=2, test_samples=500, detail=False).isel(step=-1)
    return last["clean_test_error"].values, last["robust_test_error"].values


CLAIM = Claim(
    statement="under the paper's scaling most runs end with clean test error <= 0.01 and robust test error >= 0.4",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 5.9",
    tag="[N]",
    evidence="statistical",
    check=check,
    hypotheses={"runs >= 20": lambda runs: runs >= 20, "dims >= 60": lambda dims: min(dims) >= 60},
    deep={"dims": (100, 800, 6400, 51_200), "runs": 200},
    controls={
        "at half the perturbation radius": {"ratio": 0.5, "dims": (100,), "runs": 20},
        "robust test error >= 0.505": {"robust": 0.505, "dims": (100,)},
    },
)
