"""Adversarial training causes memorization: with lambda = 0 the noise is not memorized, with lambda = 1/2 it is.

Both train for three times the T_1 predicted at lambda = 1/2: the statement is about that horizon, not about all times,
and a weight above 0 but small enough may obey it, too. Each seed draws new data and weights and gives one trial for
each lambda, at several noise norms and signal strengths: the median over samples of V_i at the end of training stays
below 0.05 at lambda = 0, and exceeds 1 at lambda = 1/2. The number of seeds that obey gives an exact (Clopper &
Pearson) interval of the probability of obeying, at the stated confidence for all settings together: the claim holds if
its lower end reaches `probability`, fails if its upper end does not, and is undecided otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.confidence import proportion_interval
from cgro.claims.outcomes import at_least, together
from cgro.dynamics.phases import memorization_time
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting

CONFIDENCE = 0.99
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
        unlearned: level below which the median V_i counts as not memorized.
        weight: lambda of the training that is claimed not to memorize.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    chosen = dict(list(SETTINGS.items())[:settings])
    level = 1 - (1 - CONFIDENCE) / (2 * len(chosen))
    counts, medians = {}, {}
    for name, setting in chosen.items():
        standard, adversarial = _medians(setting, weight, seeds), _medians(setting, 0.5, seeds)
        counts[f"lambda = {weight:g}, {name}"] = int((np.abs(standard) <= unlearned).sum())
        counts[f"lambda = 0.5, {name}"] = int((adversarial >= 1).sum())
        medians[name] = (float(np.abs(standard).max()), float(adversarial.min()))
    intervals = {name: proportion_interval(count, runs, level) for name, count in counts.items()}
    outcomes = {name: at_least(low, high, probability) for name, (low, high) in intervals.items()}
    found = together(*outcomes.values())
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"{', '.join(chosen)}; {runs} seeds, three times T_1, N = {_BASE.samples}, d = {_BASE.dim:,}",
        bound=f"probability >= {probability:g} of |V| <= {unlearned:g} at lambda = {weight:g}, and of V >= 1 at 0.5",
        measured="largest |V| and smallest V: " + ", ".join(f"{a:.3f} and {b:.1f}" for a, b in medians.values()),
        constant=f"probability at least {min(low for low, _ in intervals.values()):.3f} everywhere",
        counterexample=next((name for name, outcome in outcomes.items() if outcome.holds is False), ""),
        confidence=CONFIDENCE,
    )


@lru_cache(maxsize=64)
def _medians(setting: PatchSetting, weight: float, seeds: range) -> np.ndarray:
    """The median V_i of every run at the end."""
    from cgro.dynamics.trajectory import train

    chosen = replace(setting, adversarial_weight=weight, steps=int(3 * memorization_time(setting)))
    last = train(Runs.product([chosen], seeds), records=2, test_samples=2, detail=False).isel(step=-1)
    return last["noise_memorization_median"].values


LOOSE = "holds with room: the finding prints the largest |V|, the smallest V and the lower end of the probability"
CLAIM = Claim(
    statement="within three times T_1 the median |V_i| stays <= 0.05 in standard training, and reaches V_i >= 1 at "
    "lambda = 1/2, each with probability >= 0.85 at every noise norm and signal strength tried",
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
    },
    controls={
        "no memorization at lambda = 0.2": {"weight": 0.2, "runs": 60},
        "to within 0.0001": {"unlearned": 0.0001, "runs": 60},
    },
)
