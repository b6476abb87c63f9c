"""Robust memorizers of N points shatter floor(N/2) floor(1/(1-rho^2)) points (K4), in l_2 for rho <= sqrt(1 - 1/D).

k = floor(1/(1-rho^2)) <= D. In each of N/2 far places c_l put the points c_l + e_1, ..., c_l + e_k to be shattered.
For a labelling let J+ and J- be the indices of a place with labels + and -, and memorize two points: c_l + sum_{J+}
e_j - sum_{J-} e_j and its mirror image with the other label, scaled so that each shattered point lies in the ball of
the prototype of its label. Here the scale s is found: with prototypes p = c + s v and c - s v, v the sign vector on k
coordinates, the point c + e_j with v_j = +1 has squared distance 1 - 2 s + k s^2 to p, and 2 eps = 2 s sqrt k. The
ball of ratio rho reaches it iff 1 - 2 s + k s^2 <= rho^2 k s^2, and s = 1 / (k (1 - rho^2)) minimizes the difference:
1 - 1 / (k (1 - rho^2)) <= 0 iff k (1 - rho^2) <= 1. That is decided symbolically; all labellings of small cases are
decided in rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import sympy as sp

from cgro.claim import Claim, Finding
from cgro.networks.memorizers.bounds import shattered_points

Count = Callable[[int, float], int]


def best_scale_decides() -> bool:
    """Minimum over s of 1 - 2 s + k s^2 - rho^2 k s^2 is 1 - 1 / (k (1 - rho^2)) at s = 1 / (k (1 - rho^2))."""
    s, k, a = sp.symbols("s k a", positive=True)  # a = 1 - rho^2
    value = 1 - 2 * s + k * s**2 * a
    best = 1 / (k * a)
    return bool(
        sp.simplify(sp.diff(value, s).subs(s, best)) == 0
        and sp.diff(value, s, 2).is_positive
        and sp.simplify(value.subs(s, best) - (1 - 1 / (k * a))) == 0
    )


def all_labellings_lie_in_balls(k: int, places: int, square_ratio: Fraction) -> int:
    """Labellings of k points in each of some places that prototypes realize; places are far apart, so each counts
    alone."""
    s = 1 / (k * (1 - square_ratio))
    good = 0
    for v in product((1, -1), repeat=k):
        inside = []
        for j in range(k):
            # Prototype of the point's label: v_j s v.
            step = [v[j] * s * w for w in v]
            distance = sum(((i == j) - step[i]) ** 2 for i in range(k))
            inside.append(distance <= square_ratio * k * s**2)
        good += all(inside)
    return good**places


def check(*, largest: int = 5, count: Count = shattered_points) -> Finding:
    """All labellings for k up to `largest` in one and two places, at the ratio rho^2 = 1 - 1/k.

    Args:
        largest: points shattered in one place.
    """
    proved = best_scale_decides()
    realized, wrong = [], ""
    for k in range(2, largest + 1):
        square = 1 - Fraction(1, k)
        for places in (1, 2):
            claimed = count(2 * places, math.sqrt(square))
            points = claimed // places
            good = all_labellings_lie_in_balls(points, places, square)
            realized.append(f"{good} of {2**claimed}")
            if good != 2**claimed:
                wrong = wrong or f"N = {2 * places}, rho^2 = 1 - 1/{k}: {good} of {2**claimed} labellings"
    return Finding(
        holds=proved and not wrong,
        slack=1.0 if proved and not wrong else 0.0,
        tested=f"all labellings for rho^2 = 1 - 1/k, k = 2 to {largest}, N = 2 and 4; all k by the identity",
        bound="every labelling",
        measured=f"{realized[-1]} labellings for the largest; condition k (1 - rho^2) <= 1 is exact",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="robust memorizers of N points in l_2 shatter floor(N/2) floor(1/(1-rho^2)) points",
    source="Kim, Moon & Yun, NeurIPS 2025, Prop. 3.3 (K4)",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"2 <= largest <= 8": lambda largest: 2 <= largest <= 8},
    deep={"largest": 8},
    controls={
        "one point more in each place": {"count": lambda n, rho: shattered_points(n, rho) + n // 2, "largest": 3},
        "1/(1-rho) instead of 1/(1-rho^2)": {
            "count": lambda n, rho: (n // 2) * math.floor(1 / (1 - rho) + 1e-9),
            "largest": 2,
        },
    },
)
