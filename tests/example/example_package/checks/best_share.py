"""By Hoeffding's inequality and the union bound, computed exactly from the binomial distribution."""

from __future__ import annotations

import math

from cgro.claims.claim import Claim, Finding


def check(*, coins: int = 20, flips: int = 100, factor: float = 1.0) -> Finding:
    """The chance that the best share exceeds the bound.

    Args:
        coins: number of coins.
        flips: flips of each.
        factor: of the bound's distance from 1/2.
    """
    bound = 0.5 + factor * math.sqrt(math.log(20 * coins) / (2 * flips))
    tail = sum(math.comb(flips, k) for k in range(math.ceil(bound * flips), flips + 1)) / 2**flips
    chance = 1 - (1 - tail) ** coins
    return Finding(chance <= 0.05, 0.05 / chance, f"{coins} coins", "0.05", f"{chance:.3g}")


CLAIM = Claim(
    statement="the best share of n fair coins exceeds 1/2 + sqrt(log(20 n) / (2 t)) with probability at most 0.05",
    source="Hoeffding (1963)",
    tag="[S]",
    evidence="numerical",
    check=check,
    controls={"half the distance": {"factor": 0.5}},
)
