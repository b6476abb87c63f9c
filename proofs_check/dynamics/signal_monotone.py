"""Gradient descent never lowers a signal component, as long as the attack cannot turn the signal around.

    du_r = (eta q / N) |u_r|^{q-1} sum_i [(1-lambda) alpha^q psi^c_i + lambda t_i^q psi^a_i]

With odd activation and rho <= 1 the attacked signal t_i = (1 - rho) alpha is >= 0, so every factor is >= 0: the sign
of the whole is decided symbolically. The engine is then run over random settings. Beyond rho = 1 the adversarial term
is negative.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting


def increment_is_nonnegative(reversed_signal: bool) -> bool:
    """Sign of du_r for symbols in their domain; t = (1 - rho) alpha, of sign -1 if the attack reverses the signal."""
    eta, q, lam, rest, alpha = sp.symbols("eta q lambda rest alpha", positive=True)
    # At u_r = 0 or t = 0 the term vanishes; elsewhere all symbols are positive.
    u, clean, attacked, t = sp.symbols("abs_u psi_c psi_a t", positive=True)
    power = -(t**q) if reversed_signal else t**q
    # lambda + rest = 1.
    return bool((eta * q * u ** (q - 1) * (rest * alpha**q * clean + lam * power * attacked)).is_nonnegative)


def check(*, settings: int = 12, largest_ratio: float = 1.0, seed: int = 0) -> Finding:
    """The sign, and the smallest change of a signal component between records, over random settings.

    Args:
        settings: random settings simulated.
        largest_ratio: largest rho = delta / alpha among them.
        seed: seed of the settings.
    """
    from cgro.dynamics.trajectory import train

    proved = increment_is_nonnegative(largest_ratio > 1)
    generator = np.random.default_rng(seed)
    changes = []
    for k in range(settings):
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
        u = train(Runs((setting,), (k,)), records=60, test_samples=2)["signal_component"].values[0]
        changes.append(float(np.nanmin(np.diff(u, axis=0))))
    smallest = min(changes)
    holds = proved and smallest >= 0
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested=f"all values of the factors; {settings} random settings simulated, rho <= {largest_ratio:g}",
        bound="change >= 0",
        measured=f"sign {'proved' if proved else 'not proved'}; smallest change {smallest:.3g}",
        counterexample="" if holds else f"setting {int(np.argmin(changes))}: u_r changes by {smallest:.3g}",
    )


CLAIM = Claim(
    statement="every signal component u_r is non-decreasing for rho <= 1",
    source="reduced dynamics of the patch model",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "settings >= 1": lambda settings: settings >= 1,
        "largest_ratio > 0": lambda largest_ratio: largest_ratio > 0,
    },
    deep={"settings": 400},
    controls={"rho up to 2": {"largest_ratio": 2.0, "settings": 2}},
)
