"""Adversarial training causes memorization: with lambda = 0 the noise is not memorized, with lambda = 1/2 it is.

Each seed draws new data and weights and gives one trial for each lambda: the median over samples of V_i at the end of
training stays below 0.2 at lambda = 0, and exceeds 1 at lambda = 1/2. The number of seeds that obey gives an exact
(Clopper & Pearson) interval of the probability of obeying, at the stated confidence for both together: the claim
holds if its lower end reaches `probability`, fails if its upper end does not, and is undecided otherwise.
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
    runs: int = 100,
    steps: int = 6000,
    probability: float = 0.9,
    unlearned: float = 0.2,
    weight: float = 0.0,
    seed: int = 0,
) -> Finding:
    """Probability over data and weights that V_i stays small without adversarial loss and becomes large with it.

    Args:
        runs: independent seeds.
        steps: gradient steps.
        probability: claimed lower bound of the probability of each statement.
        unlearned: level below which the median V_i counts as not memorized.
        weight: lambda of the training that is claimed not to memorize.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    standard, adversarial = _medians(weight, steps, seeds), _medians(0.5, steps, seeds)
    level = 1 - (1 - CONFIDENCE) / 2
    obeyed = [int((np.abs(standard) <= unlearned).sum()), int((adversarial >= 1).sum())]
    intervals = [proportion_interval(count, runs, level) for count in obeyed]
    found = together(*(at_least(low, high, probability) for low, high in intervals))
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"{runs} seeds, N = 20, d = 200, {steps} steps",
        bound=f"probability >= {probability:g}",
        measured=f"|V| <= {unlearned:g} at lambda = {weight:g} in {obeyed[0]} of {runs} runs, V >= 1 at "
        f"lambda = 0.5 in {obeyed[1]}; medians {np.median(standard):.3f} and {np.median(adversarial):.1f}",
        constant=" and ".join(f"probability {low:.3f} to {high:.3f}" for low, high in intervals),
        counterexample=f"median V = {np.median(standard):.2f} at lambda = {weight:g}" if found.holds is False else "",
        confidence=CONFIDENCE,
    )


@lru_cache(maxsize=64)
def _medians(weight: float, steps: int, seeds: range) -> np.ndarray:
    """The median V_i of every run at the end."""
    from cgro.dynamics.trajectory import train

    setting = PatchSetting(
        samples=20, patches=2, dim=200, filters=10, steps=steps, learning_rate=0.1, adversarial_weight=weight
    )
    last = train(Runs.product([setting], seeds), records=2, test_samples=2, detail=False).isel(step=-1)
    return last["noise_memorization_median"].values


CLAIM = Claim(
    statement="standard training does not memorize the noise where adversarial training does",
    source="Li & Li, ICML 2025, arXiv:2306.01271, discussion; measured independently",
    tag="[M]",
    evidence="statistical",
    check=check,
    hypotheses={
        "runs >= 60, or no count reaches the bound": lambda runs: runs >= 60,
        "0 <= weight <= 1": lambda weight: 0 <= weight <= 1,
    },
    deep={"runs": 1000, "probability": 0.98},
    controls={
        "no memorization at lambda = 0.2": {"weight": 0.2, "runs": 60},
        "to within 0.001": {"unlearned": 0.001, "runs": 60},
    },
)
