"""Adversarial training causes memorization: with lambda = 0 the noise is not memorized, with lambda = 1/2 it is.

Both train for three times the T_1 predicted at lambda = 1/2: the statement is about that horizon, not about all times,
and a weight above 0 but small enough may obey it, too. Each seed draws new data and weights and gives one trial for
each lambda, at several noise norms and signal strengths. At lambda = 0 the median over samples of |V_i| must be at most
0.05 after every step, and at lambda = 1/2 the median of V_i must reach 1. The number of seeds that obey gives an exact
(Clopper & Pearson) interval of the probability of obeying: the claim holds if its lower end reaches `probability`,
fails if its upper end does not, and is undecided otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.dynamics.phases import memorization_time
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

from .trials import judged

_BASE = PatchSetting(samples=11, patches=2, dim=10_000, filters=12, init_scale=0.08, learning_rate=1.6)
SETTINGS = {
    "the base": _BASE,
    "noise norm 1.4": replace(_BASE, noise_norm=1.4),
    "alpha = 3": replace(_BASE, signal=3.0, learning_rate=0.4),
    "noise norm 0.8": replace(_BASE, noise_norm=0.8),
    "alpha = 1.4": replace(_BASE, signal=1.4),
}


def check(
    *,
    settings: int = 2,
    runs: int = 60,
    probability: float = 0.85,
    unlearned: float = 0.05,
    weight: float = 0.0,
    seed: int = 0,
) -> Finding:
    """Probability over data and weights that V_i stays small without adversarial loss and becomes large with it.

    Args:
        settings: number of settings, from the base on.
        runs: independent seeds.
        probability: claimed lower bound of the probability of each statement.
        unlearned: level below which the median |V_i| counts as not memorized.
        weight: lambda of the training that is claimed not to memorize.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    chosen = dict(list(SETTINGS.items())[:settings])
    successes, measured = {}, []
    for name, setting in chosen.items():
        standard, adversarial = _largest_median(setting, weight, seeds), _memorized_at(setting, seeds)
        successes[f"lambda = {weight:g}, {name}"] = int((standard <= unlearned).sum()), probability
        successes[f"lambda = 0.5, {name}"] = int(np.isfinite(adversarial).sum()), probability
        measured.append(f"{standard.max():.3f} and {adversarial.max() / memorization_time(setting):.2f}")
    found = judged(successes, runs)
    return found.finding(
        tested=f"{', '.join(chosen)}; {runs} seeds, every step up to three times T_1, N = {_BASE.samples}, P = "
        f"{_BASE.patches}, d = {_BASE.dim:,}, m = {_BASE.filters}, "
        f"sigma_0 = {_BASE.init_scale:g}",
        bound=f"probability >= {probability:g} of median |V_i| <= {unlearned:g} at lambda = {weight:g}, and of median "
        "V_i >= 1 at 0.5",
        measured=f"largest median |V_i|, and latest T_1 over its prediction: {', '.join(measured)}",
        constant=f"probability at least {min(low for low, _ in found.intervals.values()):.3f} everywhere",
    )


def _horizon(setting: PatchSetting) -> int:
    return int(3 * memorization_time(setting))


@lru_cache(maxsize=64)
def _largest_median(setting: PatchSetting, weight: float, seeds: range) -> np.ndarray:
    """The largest median |V_i| of every run, over all steps."""
    from cgro.base.machine import limited_threads
    from cgro.dynamics.gram import GramEngine

    engine = GramEngine(Runs.product([replace(setting, adversarial_weight=weight)], seeds), threads=1)
    largest = engine.memorized().abs().quantile(0.5, dim=1)
    with limited_threads(1):
        for _ in range(_horizon(setting)):
            engine.advance(1)
            largest = largest.maximum(engine.memorized().abs().quantile(0.5, dim=1))
    return largest.numpy()


@lru_cache(maxsize=64)
def _memorized_at(setting: PatchSetting, seeds: range) -> np.ndarray:
    """T_1 of every run at lambda = 1/2, infinite if it is not reached."""
    from cgro.dynamics.crossings import NAMES
    from cgro.dynamics.gram import GramEngine

    engine = GramEngine(Runs.product([replace(setting, adversarial_weight=0.5)], seeds))
    engine.advance(_horizon(setting))
    return np.nan_to_num(engine.times()[:, NAMES.index("T_1")], nan=np.inf)


LOOSE = "holds with room: the finding prints the largest median |V_i| and the lower end of the probability"
CLAIM = Claim(
    statement="at rho = 1 - 1/(sqrt(d) log d), N = 11, P = 2, d = 10,000, m = 12, q = 3, sigma_0 = 0.08 and eta = 1.6 "
    "(0.4 at alpha = 3) within three times the predicted T_1 the median |V_i| stays <= 0.05 in standard training, and "
    "the median V_i reaches 1 at lambda = 1/2, each with probability >= 0.85 at every noise norm and signal strength "
    "tried",
    source="Li & Li, ICML 2025, arXiv:2306.01271, discussion; measured independently",
    tag="[M]",
    evidence="statistical",
    check=check,
    hypotheses={
        "runs >= 60, or no count reaches the bound": lambda runs: runs >= 60,
        f"1 <= settings <= {len(SETTINGS)}": lambda settings: 1 <= settings <= len(SETTINGS),
        "0 <= weight <= 1": lambda weight: 0 <= weight <= 1,
    },
    deep={"settings": len(SETTINGS), "runs": 400, "probability": 0.97},
    constants={
        "0.05": Constant(lambda f: {"unlearned": 0.05 * f}, refuted=(), otherwise=LOOSE),
        "0.85": Constant(lambda f: {"probability": 0.85 * f}, refuted=(), otherwise=LOOSE),
        "lambda = 1/2": Constant(None, refuted=(), otherwise="the weight of the training that is compared"),
        "1 - 1/(sqrt(d) log d), N = 11, P = 2, d = 10,000, m = 12, q = 3, 0.08, eta = 1.6 (0.4 at alpha = 3)": Constant(
            None, refuted=(), otherwise="the base: below rho* nothing is memorized at lambda = 1/2 either"
        ),
    },
    controls={
        "no memorization at lambda = 0.2": {"weight": 0.2, "runs": 60},
        "to within 0.0001": {"unlearned": 0.0001, "runs": 60},
    },
)
