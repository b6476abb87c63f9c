"""Gradient descent never lowers a signal component, as long as the attack cannot turn the signal around [D].

du_r = (eta q / N) |u_r|^{q-1} sum_i [(1-lambda) alpha^q psi^c_i + lambda t_i^q psi^a_i]: every factor is non-negative
while the attacked signal t_i is, that is for rho <= 1 (odd activation).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.trajectory import train
from cgro.verdict import Verdict

TITLE = "Signal components never decrease"


def check(largest_ratio: float = 1.0, settings: int = 40) -> Verdict:
    """The smallest change of a signal component between records, over random settings with rho <= largest_ratio."""
    generator = np.random.default_rng(0)
    changes = []
    for seed in range(settings):
        signal, norm, weight, rate = generator.uniform((0.5, 0.3, 0.0, 0.01), (3.0, 3.0, 1.0, 0.2))
        setting = replace(
            PatchSetting(samples=8, patches=3, dim=40, filters=5, steps=400),
            exponent=float(generator.choice([2.0, 2.5, 3.0])),
            signal=signal,
            noise_norm=norm,
            adversarial_weight=weight,
            learning_rate=rate,
            radius_ratio=largest_ratio * generator.uniform(0.5, 1.0),
        )
        u = train(Runs((setting,), (seed,)), records=60, test_samples=2)["signal_component"].values[0]
        changes.append(np.nanmin(np.diff(u, axis=0)))
    smallest = float(min(changes))
    return Verdict(
        claim="every u_r is non-decreasing for rho <= 1",
        source="reduced dynamics of the patch model",
        tag="[D]",
        evidence="numerical",
        bound="change >= 0",
        measured=f"smallest change {smallest:.3g} over {settings} settings",
        slack=np.inf if smallest >= 0 else 0.0,
        holds=smallest >= 0,
    )
