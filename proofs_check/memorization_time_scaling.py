"""How the memorization time scales: T_1 = Theta~(N / (eta lambda sigma_0 sigma^3 d^{3/2})) at q = 3 [N].

With the noise norm sigma sqrt(d) = s fixed, sigma^3 d^{3/2} = s^3. Exponents are fitted on simulated trajectories.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.stats import linregress, t

from cgro.dynamics.phases import add_times
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import train
from cgro.verdict import Verdict

TITLE = "Exponents of the memorization time"
EXPONENTS = {"samples": 1.0, "adversarial_weight": -1.0, "learning_rate": -1.0}
TOLERANCE = 0.2
"""Accepted deviation of a fitted exponent: Theta~ hides logarithms of N, and T_1 includes T_0."""
_VALUES = {
    "samples": (20, 30, 40, 60),
    "adversarial_weight": (0.3, 0.4, 0.55, 0.75),
    "learning_rate": (0.04, 0.06, 0.09, 0.13),
}


def check(exponents: dict[str, float] | None = None, seeds: int = 5) -> Verdict:
    """Every fitted exponent, with its 99 % interval, reaches within TOLERANCE of the claimed one."""
    deviations, found = [], []
    for name, claimed in (EXPONENTS if exponents is None else exponents).items():
        slope, half_width = fitted_exponent(name, seeds)
        deviations.append(max(abs(slope - claimed) + half_width, 0.0))
        found.append(f"{name} {slope:.2f} +- {half_width:.2f} ({claimed:+g})")
    worst = max(deviations)
    return Verdict(
        claim="T_1 grows like N / (eta lambda)",
        source="Li & Li, ICML 2025, section 5",
        tag="[N]",
        evidence="asymptotic",
        bound=f"exponent within {TOLERANCE} of the claimed one, 99 % interval included",
        measured="; ".join(found),
        slack=TOLERANCE / worst,
        holds=worst <= TOLERANCE,
    )


def fitted_exponent(name: str, seeds: int) -> tuple[float, float]:
    """Slope of log T_1 in the log of a field, and half the width of its 99 % interval."""
    base = PatchSetting(patches=2, dim=1000, steps=20_000, learning_rate=0.1)
    values = _VALUES[name]
    settings = [replace(base, **{name: value}) for value in values]  # type: ignore[arg-type]
    times = []
    for setting in settings:
        runs = Runs.product([setting], range(seeds))
        result = add_times(train(runs, records=60, test_samples=2, detail=False), list(runs.settings))
        times.append(np.log(result["T_1"].values))
    x, y = np.repeat(np.log(values), seeds), np.concatenate(times)
    fit = linregress(x, y)
    return float(fit.slope), float(t.ppf(0.995, len(x) - 2) * fit.stderr)
