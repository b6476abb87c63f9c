"""Temporal ensembling's target p / sum_k p_k corrects for the start at 0: with momentum m it is p / (1 - m^t) after t
visits, the exponentially weighted mean of predictions.

Predictions sum to 1, so the sum S_t of running predictions obeys S_{t+1} = m S_t + (1 - m), S_0 = 0, hence S_t = 1 -
m^t by induction: the step is decided symbolically. Running predictions are sum_s (1 - m) m^{t-s} pi_s, whose weights
sum to 1 - m^t as well. The library's functions are compared with that mean, at several momenta.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import sympy as sp

from cgro.claims.claim import Claim, Constant, Finding
from cgro.training.ensembling import target, updated

Correction = Callable[[float, int], float]


def correction(momentum: float, visits: int) -> float:
    """1 - m^t."""
    return 1 - momentum**visits


def induction_holds() -> bool:
    """m (1 - m^t) + (1 - m) = 1 - m^{t+1}, and the sum is 0 at t = 0."""
    m, t = sp.symbols("m t", positive=True)
    return sp.simplify(m * (1 - m**t) + (1 - m) - (1 - m ** (t + 1))) == 0 and (1 - m**t).subs(t, 0) == 0


def check(*, visits: int = 30, classes: int = 10, seed: int = 0, law: Correction = correction) -> Finding:
    """The induction, and the library compared with the weighted mean.

    Args:
        visits: largest t.
        classes: number of classes C.
        seed: seed of the predictions.
    """
    import torch

    proved = induction_holds()
    generator = torch.Generator().manual_seed(seed)
    worst, where = 0.0, ""
    for momentum in (0.0, 0.5, 0.9, 0.99):
        running = torch.zeros(4, classes, dtype=torch.float64)
        seen = torch.zeros(visits, 4, classes, dtype=torch.float64)
        for t in range(1, visits + 1):
            seen[t - 1] = torch.softmax(torch.randn(4, classes, dtype=torch.float64, generator=generator), dim=1)
            running = updated(running, seen[t - 1], momentum)
            weights = (1 - momentum) * momentum ** torch.arange(t - 1, -1, -1, dtype=torch.float64)
            mean = torch.tensordot(weights, seen[:t], 1)
            off = float((target(running) - mean / max(law(momentum, t), 1e-300)).abs().max())
            if off > worst:
                worst, where = off, f"after {t} visits at momentum {momentum:g}"
    tolerance = 1e-12
    holds = proved and worst <= tolerance
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested=f"all momenta and visits; the library at four momenta, {visits} visits with {classes} classes",
        bound="identity",
        measured=f"induction {'proved' if proved else 'wrong'}; library off by {worst:.2g}",
        counterexample="" if holds else where,
    )


CLAIM = Claim(
    statement="for running predictions p from 0 with momentum 0 <= m < 1, p / sum_k p_k after t visits of an image is "
    "p / (1 - m^t), the exponentially weighted mean of all its predictions",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, temporal ensembling",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={"visits >= 1": lambda visits: visits >= 1, "classes >= 2": lambda classes: classes >= 2},
    deep={"visits": 1000},
    constants={"the exponent t, 1 times the visits": Constant(lambda f: {"law": lambda m, t: 1 - m ** (f * t)})},
    controls={
        "1 - m^(t-1)": {"law": lambda m, t: 1 - m ** (t - 1), "visits": 3},
        "no correction": {"law": lambda m, t: 1.0, "visits": 3},
    },
)
