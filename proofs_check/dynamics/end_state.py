"""Where adversarial training ends: U = Theta(alpha^-q), and every V_i = Theta(1), up to logarithms (main theorem, q =
3).

U is the median over seeds at the end of training, for several alpha at one radius ratio; its exponent in alpha is
fitted with an interval. The step is scaled as alpha^-2, so that runs of the same length reach the same logarithmic
time. V_i of all samples of the typical run (median of smallest and of largest, each with its interval) must lie in a
fixed range at every alpha and N.

Some runs end with a far larger signal, more often for larger alpha (at one rho the push alpha^q (1-rho)^q of attacked
points grows, and training approaches the critical ratio): a sample that is memorized late feeds the signal in the
meantime. Medians ignore them; their share is reported.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Finding
from cgro.claims.confidence import median_interval
from cgro.claims.outcomes import at_least, at_most, together, within
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.measures.scaling import power_law

CONFIDENCE = 0.99


def check(
    *,
    signals: tuple[float, ...] = (1.0, 1.3, 1.7, 2.1, 2.6),
    runs: int = 9,
    steps: int = 20_000,
    exponent: float = -3.0,
    tolerance: float = 0.4,
    smallest: float = 1.0,
    largest: float = 30.0,
    weight: float = 0.5,
    seed: int = 0,
) -> Finding:
    """Exponent of U in alpha, and the range of V_i over alpha and N.

    Args:
        signals: signal strengths alpha.
        runs: seeds for each alpha.
        steps: training steps.
        exponent: claimed exponent of U.
        tolerance: accepted deviation, interval included.
        smallest: claimed lower bound of V_i.
        largest: claimed upper bound of V_i.
        weight: weight lambda of the adversarial loss.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    base = PatchSetting(
        samples=20, patches=4, dim=400, filters=10, steps=steps, learning_rate=0.4, adversarial_weight=weight
    )
    settings = [replace(base, signal=a, learning_rate=base.learning_rate / a**2) for a in signals]
    ends = [_end(setting, seeds) for setting in settings]
    fit = power_law(np.array(signals), np.array([np.median(end[0]) for end in ends]), CONFIDENCE)
    ends += [_end(replace(base, samples=n, learning_rate=0.1), seeds) for n in (10, 40)]
    smallest_ends = [median_interval(end[1], CONFIDENCE) for end in ends]
    largest_ends = [median_interval(end[2], CONFIDENCE) for end in ends]
    low, high = min(np.median(end[1]) for end in ends), max(np.median(end[2]) for end in ends)
    late = np.mean([np.mean(end[0] > 10 * np.median(end[0])) for end in ends])
    parts = {
        "the exponent": within(fit.low, fit.high, exponent, tolerance),
        "smallest V_i": together(*(at_least(*ends_, smallest) for ends_ in smallest_ends)),
        "largest V_i": together(*(at_most(*ends_, largest) for ends_ in largest_ends)),
    }
    found = together(*parts.values())
    deciding = [name for name, part in parts.items() if part.holds is not True]
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"alpha = {signals[0]:g} to {signals[-1]:g}, N = 10, 20, 40, {runs} seeds, lambda = {weight:g}",
        bound=f"exponent {exponent:g} +- {tolerance:g}; V_i from {smallest:g} to {largest:g}",
        measured=f"exponent {fit.exponent:.2f} ({fit.low:.2f} to {fit.high:.2f}); V_i from {low:.3g} to {high:.3g}"
        + (f"; not decided: {', '.join(deciding)}" if found.holds is None else ""),
        constant=f"alpha^3 U = {fit.factor:.3g} at alpha = 1; over 10 times the median in {late:.0%} of runs",
        counterexample=next((name for name, part in parts.items() if part.holds is False), ""),
        confidence=CONFIDENCE,
    )


@lru_cache(maxsize=256)
def _end(setting: PatchSetting, seeds: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U, smallest and largest V_i of every run."""
    from cgro.dynamics.trajectory import train

    last = train(Runs.product([setting], seeds), records=2, test_samples=2, detail=False).isel(step=-1)
    names = ("signal_learning", "noise_memorization_min", "noise_memorization_max")
    signal, low, high = (last[name].values for name in names)
    return signal, low, high


CLAIM = Claim(
    statement="adversarial training ends with U = Theta(alpha^-q) and every V_i = Theta(1), at q = 3",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 5.9",
    tag="[N]",
    evidence="asymptotic",
    check=check,
    hypotheses={
        "at least 3 signals > 0": lambda signals: len(signals) >= 3 and min(signals) > 0,
        "runs >= 8, or medians have no interval": lambda runs: runs >= 8,
    },
    deep={"runs": 101},
    controls={
        "alpha^-2": {"exponent": -2.0, "runs": 8},
        "for standard training, too": {"weight": 0.0, "runs": 8, "signals": (1.0, 1.7, 2.6)},
    },
)
