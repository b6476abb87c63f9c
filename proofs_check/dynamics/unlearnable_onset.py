"""Robust accuracy collapses when the first unlearnable sample is memorized, at the predicted T_u.

Runs between the two predicted ratios (see `cgro.dynamics.two_mechanisms`), where a network that memorizes nothing
withstands l_inf PGD on the whole input. Two times are compared with the predicted median of T_u: the median of T_u
itself, and the median of the first step at which the error under that attack reaches 1/4 after the network had learned
the signal, where a tenth of the predicted time lies between two attacks. Both medians have intervals by order
statistics, all of them together with the stated confidence. There are about as many noise patches as dimensions here,
which changes the speed of memorization a little, so the prediction is compared within a factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.confidence import median_interval
from cgro.claims.outcomes import at_least, at_most, together
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.two_mechanisms import collapse_time, memorized_time

Law = Callable[[PatchSetting], float]
CONFIDENCE = 0.99
LEVEL = 0.25
"""Error from which a run counts as collapsed."""
_BASE = PatchSetting(
    samples=60, patches=2, filters=20, activation="relu", signal=5.0, noise_norm=4.0, init_scale=0.003,
    learning_rate=0.2, radius_ratio=0.17, sampling="vectors",
)  # fmt: skip
_SETTINGS = {
    "p_un = 0.3": replace(_BASE, unlearnable=0.3),
    "d = 50": replace(_BASE, unlearnable=0.2, dim=50, radius_ratio=0.25),
    "sigma_0 twice as large": replace(_BASE, unlearnable=0.2, init_scale=0.006),
    "p_un = 0.1": replace(_BASE, unlearnable=0.1),
}


def check(
    *, runs: int = 40, settings: int = 1, factor: float = 1.3, seed: int = 0, law: Law = collapse_time
) -> Finding:
    """Median T_u and median time of collapse, over the predicted median T_u.

    Args:
        runs: seeds for each setting.
        settings: number of settings, from the first on.
        factor: accepted factor between measured and predicted times.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    chosen = dict(list(_SETTINGS.items())[:settings])
    level = 1 - (1 - CONFIDENCE) / (2 * len(chosen))
    outcomes, words = {}, []
    for name, setting in chosen.items():
        for what, times in zip(("T_u", "collapse"), _measured(setting, seeds), strict=True):
            low, high = median_interval(times / law(setting), level)
            outcomes[f"{what} at {name}"] = together(at_least(low, high, 1 / factor), at_most(low, high, factor))
            words.append(f"{what} {low:.2f} to {high:.2f} times at {name}")
    found = together(*outcomes.values())
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"{', '.join(chosen)}; N = {_BASE.samples}, m = {_BASE.filters}, {runs} runs each",
        bound=f"median of both times within a factor of {factor:g} of the predicted T_u, interval included",
        measured="; ".join(words),
        counterexample=next((name for name, outcome in outcomes.items() if outcome.holds is False), ""),
        confidence=CONFIDENCE,
    )


@lru_cache(maxsize=64)
def _measured(setting: PatchSetting, seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """T_u and the time of collapse of every run, this to a tenth of the predicted T_u; infinite if not reached."""
    from cgro.base.machine import limited_threads
    from cgro.dynamics.crossings import NAMES
    from cgro.dynamics.gram import GramEngine
    from cgro.dynamics.whole_input import pgd_error

    engine = GramEngine(Runs.product([setting], seeds))
    part = max(int(collapse_time(setting) / 10), 1)
    runs, learned = np.arange(len(seeds)), np.zeros(len(seeds), dtype=bool)
    memorized, collapse = np.full((2, len(seeds)), np.inf)
    engine.advance(2 * part)
    with limited_threads(1):
        while engine.taken < 30 * part and len(runs):
            engine.advance(part)
            error = pgd_error(engine, "inf", samples=60)
            collapse[runs[learned[runs] & (error >= LEVEL) & np.isinf(collapse[runs])]] = engine.taken
            learned[runs] |= error < LEVEL
            memorized[runs] = np.nan_to_num(engine.times()[:, NAMES.index("T_u")], nan=np.inf)
            waiting = np.flatnonzero(np.isinf(collapse[runs]) | np.isinf(memorized[runs]))
            if len(waiting) < len(runs):
                runs = runs[waiting]
                if len(runs):
                    engine.keep(waiting)
    return memorized, collapse


CLAIM = Claim(
    statement="at N = 60, P = 2, d = 100, m = 20, q = 3, relu, alpha = 5, noise norm 4, sigma_0 = 0.003, eta = 0.2, "
    "rho = 0.17 and p_un = 0.3, and at each variant tried, the median of T_u and the median time of collapse, an error "
    "of at least 1/4, once it was smaller, under l_inf PGD on the whole input, looked for at every tenth of the "
    "predicted T_u, lie within a factor of 1.3 of it",
    source="onset of T_1 of unlearnable samples, Lee & Chung, ICML 2026, arXiv:2605.21999, constants derived here",
    tag="[D]",
    evidence="statistical",
    check=check,
    hypotheses={
        "runs >= 12, or medians have no interval": lambda runs: runs >= 12,
        f"1 <= settings <= {len(_SETTINGS)}": lambda settings: 1 <= settings <= len(_SETTINGS),
        "factor > 1": lambda factor: factor > 1,
    },
    deep={"settings": len(_SETTINGS), "runs": 200},
    constants={
        "an error of at least 1/4": Constant(None, refuted=(), otherwise="defines the collapse; it is gradual"),
        "a factor of 1.3": Constant(
            lambda f: {"factor": 1.3 * f},
            refuted=(),
            otherwise="accuracy of a prediction, better for larger d; the finding prints every ratio",
        ),
        "N = 60, P = 2, d = 100, m = 20, q = 3, alpha = 5, norm 4, 0.003, eta = 0.2, 0.17, p_un = 0.3": Constant(
            None, refuted=(), otherwise="the first of the settings"
        ),
    },
    controls={
        "the rate of memorization in phase III": {"law": lambda s: collapse_time(s) / s.adversarial_weight},
        "a typical unlearnable sample in place of the first": {"law": lambda s: memorized_time(s, 0.5)},
    },
)
