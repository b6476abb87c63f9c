"""Gradient descent never lowers a signal component times its filter's sign, as long as the attack cannot turn the
signal around.

    a_r du_r = (eta / N) sum_i [(1-lambda) psi^c_i alpha phi'(alpha y_i u_r) + lambda psi^a_i t_i phi'(t_i y_i u_r)]

by `reduced_dynamics`, as a_r^2 = y_i^2 = 1. For an activation that does not fall, phi' >= 0 (odd and ReLU^q alike),
every factor is >= 0 if every attacked signal t_i is, and for rho <= 1 all signals in [alpha - delta, alpha + delta]
are, those of the transfer attack and of the worst case among them: z3 decides both, one sample's term for all. The
engine is then run over random settings with both activations and attacks. Beyond rho = 1 the adversarial term is
negative.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision
from cgro.dynamics.runs import Runs
from cgro.dynamics.setting import PatchSetting


def increment(largest_ratio: float) -> Decision:
    """Whether a sample's term is >= 0, for lambda in [0, 1], slopes and psi >= 0, any t of the attack."""
    lam, alpha, t, clean, attacked, slope, other = z3.Reals("lambda alpha t psi_c psi_a phi'(alpha) phi'(t)")
    rho = z3.Real("rho")
    given = [
        *(lam >= 0, lam <= 1, alpha > 0, clean >= 0, attacked >= 0, slope >= 0, other >= 0),
        *(rho >= 0, rho <= z3.RealVal(str(largest_ratio)), (1 - rho) * alpha <= t, t <= (1 + rho) * alpha),
    ]
    return prove((1 - lam) * clean * alpha * slope + lam * attacked * t * other >= 0, *given)


def check(*, settings: int = 6, largest_ratio: float = 1.0, seed: int = 0) -> Finding:
    """The sign, and the smallest change of a signal component between records, over random settings.

    Args:
        settings: random settings simulated.
        largest_ratio: largest rho = delta / alpha among them.
        seed: seed of the settings.
    """
    from cgro.dynamics.patch_cnn import output_signs
    from cgro.dynamics.trajectory import train

    sign = increment(round(largest_ratio, 9))
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
            activation=("odd", "relu")[k % 2],
            attack=("worst", "transfer")[k // 2 % 2],
        )
        u = train(Runs((setting,), (k,)), records=30, test_samples=2)["signal_component"].values[0]
        signs = output_signs(setting.filters, setting.activation).numpy()
        changes.append(float(np.nanmin(np.diff(signs * u, axis=0))))
    smallest = min(changes)
    # One setting that falls refutes the claim; without one z3 decides.
    holds = False if smallest < 0 else sign.holds
    falls = [f"setting {int(np.argmin(changes))}: u_r changes by {smallest:.3g}"] if smallest < 0 else []
    models = [f"a term < 0 at {sign.counterexample}"] if sign.holds is False else []
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested=f"all values of the factors; {settings} random settings simulated, rho <= {largest_ratio:g}",
        bound="change >= 0",
        measured=f"sign {'proved' if sign.holds else 'not proved'}; smallest change {smallest:.3g}",
        counterexample="; ".join([*falls, *models]) if holds is False else "",
    )


CLAIM = Claim(
    statement="a_r u_r, every signal component with its filter's sign, is non-decreasing for rho <= 1, phi' >= 0, "
    "lambda in [0, 1] and any attack with signals in [alpha - delta, alpha + delta]",
    source="reduced dynamics of the patch model",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "settings >= 1": lambda settings: settings >= 1,
        "largest_ratio > 0": lambda largest_ratio: largest_ratio > 0,
    },
    deep={"settings": 60},
    constants={
        "rho <= 1": Constant(
            lambda f: {"largest_ratio": f}, refuted=(1.05,), otherwise="a smaller radius is a weaker claim"
        )
    },
    controls={"rho up to 2": {"largest_ratio": 2.0, "settings": 2}},
)
