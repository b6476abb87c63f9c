"""Robust memorizers of N points shatter floor(N/2) floor(1/(1-rho^2)) points (K4), in l_2 for rho <= sqrt(1 - 1/D).

k = floor(1/(1-rho^2)) <= D by the hypothesis. Around each of N/2 distant centres c_l put the points c_l + e_1, ...,
c_l + e_k to be shattered. For a labelling let J+ and J- be the indices around a centre with labels + and -, and
memorize two points: c_l + sum_{J+} e_j - sum_{J-} e_j and its mirror image with the other label, scaled so that each
shattered point lies in the ball of the prototype of its label. It remains to find the scale s: with prototypes p = c
+ s v and c - s v, v the sign vector on k coordinates, the point c + e_j with v_j = +1 has squared distance 1 - 2 s +
k s^2 to p, and 2 eps = 2 s sqrt k. The ball of ratio rho reaches it iff 1 - 2 s + k s^2 <= rho^2 k s^2, and s = 1 /
(k (1 - rho^2)) minimizes the difference: 1 - 1 / (k (1 - rho^2)) <= 0 iff k (1 - rho^2) <= 1. That is decided
symbolically; all labellings of small cases are decided in rational arithmetic, for one centre and for two.

Beyond the hypothesis the statement is false: half-spaces memorize any two points at every rho < 1, and they shatter
at most D + 1 points (Radon). This is checked, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import product

import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.memorizers.bounds import shattered_points, within_shattering

Count = Callable[[int, int, float], int]
"""A function of samples N, dimension D and ratio rho."""
Point = list[Fraction]


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


def realized(dim: int, k: int, places: int, square_ratio: Fraction) -> int:
    """Labellings of k <= D points around each of several centres in R^D that memorizers of two prototypes per centre
    realize.

    A labelling is realized if every point lies in the ball of a prototype of its label, of radius rho lambda / 2 with
    lambda the separation of all prototypes.
    """
    s = 1 / (k * (1 - square_ratio))
    # Farther than any two prototypes of one centre are apart.
    centers = [_shift([Fraction(0)] * dim, 0, place * 10 * k * (s + 1)) for place in range(places)]
    count = 0
    for labels in product((1, -1), repeat=k * places):
        signs = [labels[place * k : (place + 1) * k] for place in range(places)]
        prototypes = [
            (sign, [x + (sign * s * v[j] if j < k else 0) for j, x in enumerate(center)])
            for v, center in zip(signs, centers, strict=True)
            for sign in (1, -1)
        ]
        separation = min(_square(p, q) for a, p in prototypes for b, q in prototypes if a != b)
        points = [(v[j], _shift(center, j, 1)) for v, center in zip(signs, centers, strict=True) for j in range(k)]
        reach = square_ratio * separation / 4
        count += all(any(a == label and _square(p, x) <= reach for a, p in prototypes) for label, x in points)
    return count


def _shift(point: Point, axis: int, step: Fraction | int) -> Point:
    return [x + (step if j == axis else 0) for j, x in enumerate(point)]


def _square(p: Point, q: Point) -> Fraction:
    return sum(((a - b) ** 2 for a, b in zip(p, q, strict=True)), Fraction(0))


def check(*, dim: int = 4, ratio: float = 0.85, count: Count = shattered_points) -> Finding:
    """All labellings for one and two centres, at the ratio and at every rho^2 = 1 - 1/k up to it.

    Args:
        dim: dimension D.
        ratio: robustness ratio rho.
    """
    proved = best_scale_decides()
    edges = [(math.sqrt(1 - 1 / k), 1 - Fraction(1, k)) for k in range(2, dim + 1)]
    # The float of an edge is rounded; the edge itself is decided.
    cases = [edge for edge in edges if edge[0] <= ratio * (1 + 1e-12)]
    if not any(math.isclose(ratio, edge, rel_tol=1e-12) for edge, _ in cases):
        cases.append((ratio, Fraction(ratio) ** 2))
    wrong, done = "", ""
    for rho, square in cases:
        k = count(2, dim, rho)
        if k > dim + 1:
            wrong = wrong or f"half-spaces, D = {dim}, N = 2, rho = {rho:.4g}: {dim + 1} points shattered, not {k}"
        elif k > dim:
            wrong = wrong or f"k = {k} points e_1, ..., e_k do not exist for D = {dim}, rho = {rho:.4g}"
        for places in (1, 2) if k <= dim else ():
            good, all_of_them = realized(dim, k, places, square), 2 ** count(2 * places, dim, rho)
            done = f"{good} of {all_of_them} for N = {2 * places}, rho = {rho:.4g}"
            if good != all_of_them:
                wrong = wrong or f"{done}: a labelling is not realized"
    return Finding(
        holds=proved and not wrong,
        slack=1.0 if proved and not wrong else 0.0,
        tested=f"all labellings for D = {dim}, N = 2 and 4, {len(cases)} ratios up to {ratio:g}; all k by the identity",
        bound="every labelling",
        measured=f"labellings realized: {done or 'none'}; condition k (1 - rho^2) <= 1 is exact",
        counterexample=wrong,
    )


def unrestricted(samples: int, dim: int, ratio: float) -> int:
    """The count without the hypothesis."""
    return (samples // 2) * math.floor(1 / (1 - ratio**2) + 1e-9)


CLAIM = Claim(
    statement="robust memorizers of N points in l_2 shatter floor(N/2) floor(1/(1-rho^2)), if rho <= sqrt(1 - 1/D)",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.3 (K4)",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={
        "1 <= dim <= 5": lambda dim: 1 <= dim <= 5,
        "0 < rho < 1": lambda ratio: 0 < ratio < 1,
        "rho <= sqrt(1 - 1/D)": within_shattering,
    },
    deep={"dim": 5, "ratio": math.sqrt(0.8)},
    controls={
        "one more point around each centre": {
            "count": lambda n, d, rho: shattered_points(n, d, rho) + n // 2,
            "dim": 3,
            "ratio": 0.8,
        },
        "1/(1-rho) instead of 1/(1-rho^2)": {
            "count": lambda n, d, rho: (n // 2) * math.floor(1 / (1 - rho) + 1e-9),
            "dim": 5,
            "ratio": 0.75,
        },
        "without rho <= sqrt(1 - 1/D), on a line": {"count": unrestricted, "dim": 1, "ratio": 0.9},
        "without rho <= sqrt(1 - 1/D), in the plane": {"count": unrestricted, "dim": 2, "ratio": 0.9},
        "1/(1-1.05 rho^2) instead of 1/(1-rho^2)": {
            "count": lambda n, d, rho: (n // 2) * math.floor(1 / (1 - 1.05 * rho**2) + 1e-9),
            "ratio": 0.86,
        },
    },
)
