"""Where adversarial training ends: alpha^q U = s(T_1 - T_0) = Theta(log t), and every V_i = Theta(1) up to logarithms
(main theorem, q = 3).

The clean loss drives the signal until the noise is memorized: in phase II alpha^q U follows s(t), which grows as
log t (see `stalled_signal`), and memorization stops it at T_1. So U is divided by s(T_1 - T_0), with each run's own
times, before its exponent in alpha is fitted, over a factor of 3.2; U itself deviates from alpha^-3 by that
logarithm. The ratio alpha^3 U / s(T_1 - T_0) itself must lie near 1. V_i of all samples of the typical run (median
of smallest and of largest, each with its interval) must lie between 1 and 1.5 log T at every alpha and N. d is far
above the number of noise patches, as in the theorem: with few dimensions samples that are memorized late feed the
signal, and the exponent is smaller.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.confidence import median_interval
from cgro.claims.outcomes import at_least, at_most, together, within
from cgro.dynamics.phases import memorization_time, stalled_signal
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.measures.scaling import power_law

CONFIDENCE = 0.99


def check(
    *,
    signals: tuple[float, ...] = (1.0, 1.4, 1.8, 2.4, 3.2),
    runs: int = 9,
    exponent: float = -3.0,
    tolerance: float = 0.03,
    deviation: float = 0.03,
    smallest: float = 1.0,
    largest: float = 1.5,
    weight: float = 0.5,
    seed: int = 0,
) -> Finding:
    """Exponent of U in alpha, its ratio to s(T_1 - T_0), and the range of V_i over alpha and N.

    Args:
        signals: signal strengths alpha.
        runs: seeds for each alpha, others for every alpha.
        exponent: claimed exponent of U over s(T_1 - T_0).
        tolerance: accepted deviation, interval included.
        deviation: largest accepted deviation of alpha^3 U / s(T_1 - T_0) from 1, interval included.
        smallest: claimed lower bound of V_i.
        largest: claimed upper bound of V_i, over log T.
        weight: weight lambda of the adversarial loss.
        seed: first seed.
    """
    base = PatchSetting(
        samples=11, patches=3, dim=100_000, filters=20, init_scale=0.02, learning_rate=0.8, adversarial_weight=weight
    )
    settings = [replace(base, signal=a, learning_rate=base.learning_rate / a**2) for a in signals]
    settings += [replace(base, samples=n, learning_rate=base.learning_rate / base.signal**2) for n in (7, 25)]
    alphas = [s.signal for s in settings]
    # Seeds of their own for every setting: the errors of the fit are independent.
    first = 1000 * seed
    ends = [_end(s, range(first + k * runs, first + (k + 1) * runs)) for k, s in enumerate(settings)]
    factors = np.array([np.median(end[0]) for end in ends[: len(signals)]])
    fit = power_law(np.array(signals), factors, CONFIDENCE)
    scaled = [median_interval(end[0] * a**3, CONFIDENCE) for end, a in zip(ends, alphas, strict=True)]
    low, high = min(np.median(end[1]) for end in ends), max(np.median(end[2]) for end in ends)
    parts = {
        "the exponent": within(fit.low, fit.high, exponent, tolerance),
        "alpha^3 U / s(T_1 - T_0)": together(*(within(*pair, 1.0, deviation) for pair in scaled)),
        "smallest V_i": together(*(at_least(*median_interval(end[1], CONFIDENCE), smallest) for end in ends)),
        "largest V_i": together(*(at_most(*median_interval(end[2], CONFIDENCE), largest * end[3]) for end in ends)),
    }
    found = together(*parts.values())
    deciding = [name for name, part in parts.items() if part.holds is not True]
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"alpha = {signals[0]:g} to {signals[-1]:g} at N = 11, N = 7, 25 at alpha = 2; P = {base.patches}, d = "
        f"{base.dim:,}, m = {base.filters}, sigma_0 = {base.init_scale:g}, rho = {base.ratio:.5f}, lambda = "
        f"{weight:g}, {runs} seeds",
        bound=f"exponent {exponent:g} +- {tolerance:g}; ratio 1 +- {deviation:g}; V_i from {smallest:g} to "
        f"{largest:g} log T",
        measured=f"exponent {fit.exponent:.3f} ({fit.low:.3f} to {fit.high:.3f}); V_i from {low:.3g} to {high:.3g}; "
        f"log T from {min(end[3] for end in ends):.3g} to {max(end[3] for end in ends):.3g}"
        + (f"; not decided: {', '.join(deciding)}" if found.holds is None else ""),
        constant="medians of alpha^3 U / s(T_1 - T_0): " + ", ".join(f"{a:.3f} to {b:.3f}" for a, b in scaled),
        counterexample=next((name for name, part in parts.items() if part.holds is False), ""),
        confidence=CONFIDENCE,
    )


@lru_cache(maxsize=256)
def _end(setting: PatchSetting, seeds: range) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """U over s(T_1 - T_0), or over s at the end without T_1, smallest and largest V_i of every run, and log T."""
    from cgro.dynamics.trajectory import train

    # Without an adversarial loss nothing is memorized: as many steps as with one.
    steps = int(3 * memorization_time(replace(setting, adversarial_weight=0.5)))
    result = train(Runs.product([replace(setting, steps=steps)], seeds), records=2, test_samples=2, detail=False)
    last = result.isel(step=-1)
    names = ("signal_learning", "noise_memorization_min", "noise_memorization_max")
    signal, low, high = (last[name].values for name in names)
    times = np.nan_to_num(result["T_1"].values, nan=steps) - result["T_0"].values
    return signal / [stalled_signal(setting, float(t)) for t in times], low, high, float(np.log(steps))


CLAIM = Claim(
    statement="at rho = 1 - 1/(sqrt(d) log d), P = 3, m = 20, q = 3, sigma_0 = 0.02, eta alpha^2 = 0.8, d = 100,000 "
    "and the alpha and N tried, the median run ends with U = alpha^-3 s(T_1 - T_0) to within 3 %, s(t) = "
    "Theta(log t), and with smallest and largest V_i between 1 and 1.5 log T",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Theorem 5.9; the logarithm derived here",
    tag="[D]",
    evidence="asymptotic",
    check=check,
    hypotheses={
        "at least 3 signals >= 1": lambda signals: len(signals) >= 3 and min(signals) >= 1,
        "runs >= 8, or medians have no interval": lambda runs: runs >= 8,
    },
    deep={"runs": 25},
    constants={
        "1 - 1/(sqrt(d) log d), P = 3, m = 20, q = 3, sigma_0 = 0.02, eta alpha^2 = 0.8, d = 100,000": Constant(
            None, refuted=(), otherwise="the base setting; the ratio is another one where rho is close to rho*"
        ),
        "alpha^-3, as q = 3": Constant(lambda f: {"exponent": -3.0 * f}),
        "1.5 log T": Constant(None, refuted=(), otherwise="the order is the claim: the finding prints the largest V_i"),
        "within 3 %": Constant(None, refuted=(), otherwise="accuracy of a prediction: the finding prints the ratios"),
    },
    controls={
        "alpha^-2": {"exponent": -2.0},
        "alpha^-2.74, as without the logarithm": {"exponent": -2.74},
        "for standard training, too": {"weight": 0.0, "runs": 8, "signals": (1.0, 1.5, 2.2)},
        "no V_i above 0.5 log T": {"largest": 0.5},
    },
)
