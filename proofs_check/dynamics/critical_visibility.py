"""How blind a network must be: between memorizing unlearnable samples and learning their feature lies kappa*.

The feature v grows from kappa times its drawn component, at kappa p_un times the rate of the signal; a blind network
memorizes its first unlearnable sample at T_u. kappa* is where both take as long, a race without a fitted constant.
Runs at half and at twice kappa* show on which side the transition lies: by three times the T_u of a blind network
at least half memorize an unlearnable sample at the first, and at most half at the second. Each seed is a trial, and all
shares have exact (Clopper & Pearson) intervals. The claim is one about a base setting and variants of it. q = 2.2 is
none of them: there, at sigma_0 = 0.0005, 81 of 100 runs memorize at 2 kappa*.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from cgro.claims.claim import Claim, Constant, Finding
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.two_mechanisms import collapse_time, critical_visibility

from .trials import on_both_sides

Law = Callable[[PatchSetting], float]
_BASE = PatchSetting(
    samples=60, patches=2, filters=20, activation="relu", signal=5.0, noise_norm=4.0, init_scale=0.003,
    learning_rate=0.2, radius_ratio=0.17, unlearnable=0.3,
)  # fmt: skip
_SETTINGS = {
    "the base": _BASE,
    "odd activation": replace(_BASE, activation="odd"),
    "d = 400": replace(_BASE, dim=400),
    "p_un = 0.15": replace(_BASE, unlearnable=0.15),
    "weaker signal": replace(_BASE, signal=4.0),
    "weaker noise": replace(_BASE, noise_norm=3.0),
    "rho = 0.6": replace(_BASE, radius_ratio=0.6),
    "N = 30": replace(_BASE, samples=30),
    "sigma_0 = 0.001": replace(_BASE, init_scale=0.001),
}


def check(
    *, settings: int = 3, runs: int = 36, factor: float = 2.0, seed: int = 0, law: Law = critical_visibility
) -> Finding:
    """Shares of runs that memorize an unlearnable sample, at kappa* divided and multiplied by the factor.

    Args:
        settings: number of settings, from the base on.
        runs: seeds for each setting and visibility.
        factor: accepted factor between kappa* and the transition.
        seed: first seed.
    """
    seeds = range(1000 * seed, 1000 * seed + runs)
    chosen = dict(list(_SETTINGS.items())[:settings])
    counts = {}
    for name, s in chosen.items():
        below, above = (_memorizing(s, kappa, seeds) for kappa in (law(s) / factor, law(s) * factor))
        counts[name] = below, above
    sides = f"kappa* / {factor:g}", f"{factor:g} kappa*"
    return on_both_sides(counts, runs, sides, "memorize an unlearnable sample")


@lru_cache(maxsize=256)
def _memorizing(setting: PatchSetting, visibility: float, seeds: range) -> int:
    """How many runs memorize an unlearnable sample within three times the T_u of a blind network."""
    from cgro.dynamics.crossings import NAMES
    from cgro.dynamics.gram import GramEngine

    engine = GramEngine(Runs.product([replace(setting, visibility=min(visibility, 1.0))], seeds))
    engine.advance(int(3 * collapse_time(setting)))
    return int(np.isfinite(engine.times()[:, NAMES.index("T_u")]).sum())


CLAIM = Claim(
    statement="at N = 60, P = 2, d = 100, m = 20, q = 3, relu, alpha = 5, noise norm 4, sigma_0 = 0.003, eta = 0.2, "
    "rho = 0.17 and p_un = 0.3, and at each variant tried, within three times the T_u of a blind network at "
    "least half of the runs memorize an unlearnable sample at a visibility of kappa* / 2, and at most half "
    "at 2 kappa*",
    source="critical visibility of the patch model with two features",
    tag="[D]",
    evidence="statistical",
    check=check,
    hypotheses={
        "runs >= 12, or no count decides": lambda runs: runs >= 12,
        f"1 <= settings <= {len(_SETTINGS)}": lambda settings: 1 <= settings <= len(_SETTINGS),
        "factor > 1": lambda factor: factor > 1,
    },
    deep={"settings": len(_SETTINGS), "runs": 100},
    constants={
        "kappa* / 2 and 2 kappa*": Constant(
            lambda f: {"factor": 2.0 * f},
            refuted=(),
            otherwise="the transition is gradual and kappa* a leading-order prediction; the finding prints the shares",
        ),
        "N = 60, P = 2, d = 100, m = 20, q = 3, alpha = 5, norm 4, 0.003, eta = 0.2, 0.17, p_un = 0.3": Constant(
            None, refuted=(), otherwise="the base setting; the docstring says where the claim is false"
        ),
    },
    controls={
        "kappa* without the factor p_un": {"law": lambda s: critical_visibility(s) * s.unlearnable**0.5},
        "kappa* five times as large": {"law": lambda s: 5 * critical_visibility(s)},
    },
)
