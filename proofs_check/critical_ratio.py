"""The predicted critical perturbation ratio against the measured transition [D, M]."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cgro.dynamics import phases
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import train
from cgro.verdict import Verdict

TITLE = "The critical perturbation ratio predicts where CGRO begins"
TOLERANCE = 0.03
"""Largest accepted distance in rho: the theory is a balance of leading terms, without a fitted constant."""


def check(factor: float = 1.0, noise_norms: tuple[float, ...] = (0.6, 1.0, 1.6), seeds: int = 4) -> Verdict:
    """Robust test error crosses 1/4 within TOLERANCE of factor * (1 - rho*), at several noise norms."""
    offsets = np.linspace(-0.06, 0.06, 13)
    distances = []
    for norm in noise_norms:
        base = PatchSetting(patches=2, noise_norm=norm)
        center = phases.critical_ratio(base)
        ratios = center + offsets
        runs = Runs.product([replace(base, radius_ratio=float(r)) for r in ratios], range(seeds))
        error = train(runs, records=2, test_samples=512, detail=False)["robust_test_error"].isel(step=-1).values
        mean = error.reshape(len(ratios), seeds).mean(1)
        above = np.flatnonzero((mean[:-1] < 0.25) & (mean[1:] >= 0.25))
        measured = (
            np.interp(0.25, mean[above[0] : above[0] + 2], ratios[above[0] : above[0] + 2]) if len(above) else np.inf
        )
        distances.append(abs(measured - (1 - factor * (1 - center))))
    worst = float(max(distances))
    return Verdict(
        claim="training ends in CGRO above rho* and robust below it",
        source="critical ratio of the patch model",
        tag="[D]",
        evidence="numerical",
        bound=f"|rho - rho*| <= {TOLERANCE}",
        measured=f"{worst:.3f} over noise norms {', '.join(f'{n:g}' for n in noise_norms)}, {seeds} seeds",
        slack=TOLERANCE / max(worst, 1e-9),
        holds=worst <= TOLERANCE,
    )
