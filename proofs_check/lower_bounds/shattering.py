"""Robust memorizers of N points shatter floor(N/2) min(D, floor(1/(1-rho^p))) points in l_p (K4), at every rho < 1.

Around each of N/2 distant centres c put the points c + e_1, ..., c + e_k to be shattered. For labels v in {-1, 1}^k
memorize c + v with label + and c - v with label -, which are 2 eps = 2 k^(1/p) apart. The point c + e_j differs from
the prototype of its label by 1 in k - 1 coordinates and by 0 in coordinate j, so it lies in the prototype's ball if
and only if

    k - 1 <= rho^p k,   that is   k <= 1/(1-rho^p),

decided for all k and rho^p by z3. In l_2 no other scale s v of the prototypes reaches farther: the least value over s
of |e_j - s v|^2 - rho^2 k s^2 has the same sign, shown symbolically. k <= D is needed for the e_j to exist. All
labellings of small cases are decided in rational arithmetic, for one centre and for two, with k points and not with
k + 1; the library's count is the largest k that these allow.

More than D points may not be claimed: half-spaces memorize any two points at every rho < 1 and shatter D + 1 points
(Radon). For rho^p < 1/2 there is one point around each centre, and N points are shattered anyway by memorizing them.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import sympy as sp
import z3

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.memorizers.bounds import shattered_points

Count = Callable[[int, int, float, Norm], float]
"""A function of samples N, dimension D, ratio rho and norm."""
POWERS: tuple[tuple[Norm, int], ...] = (("1", 1), ("2", 2))


def condition_decides() -> bool:
    """k - 1 <= q k iff k <= 1/(1-q), 0 < q < 1; and no scale of prototypes does better in l_2."""
    k, q = z3.Reals("k q")
    same = prove((k - 1 <= q * k) == (k * (1 - q) <= 1), k >= 1, q > 0, q < 1).holds
    s, count, a = sp.symbols("s k a", positive=True)  # a = 1 - rho^2
    value = 1 - 2 * s + count * s**2 * a
    best = 1 / (count * a)
    least = sp.simplify(value.subs(s, best) - (1 - 1 / (count * a))) == 0
    return bool(same and least and sp.simplify(sp.diff(value, s).subs(s, best)) == 0)


def all_realized(dim: int, k: int, places: int, power: int, ratio: Fraction) -> bool:
    """Whether each labelling of k <= D points around each centre is realized by two prototypes per centre."""
    centers = [[Fraction(10 * k * place * (j == 0)) for j in range(dim)] for place in range(places)]
    for labels in product((1, -1), repeat=k * places):
        for place, center in enumerate(centers):
            v = labels[place * k : (place + 1) * k]
            for j in range(k):
                x = [c + (i == j) for i, c in enumerate(center)]
                prototype = [c + (v[j] * v[i] if i < k else 0) for i, c in enumerate(center)]
                # radius^p = rho^p k: the separation is 2 k^(1/p), since other centres are farther.
                if sum(abs(a - b) ** power for a, b in zip(x, prototype, strict=True)) > ratio**power * k:
                    return False
    return True


def most_points(dim: int, power: int, ratio: Fraction) -> int:
    """The largest k that the prototypes allow."""
    return max(k for k in range(1, dim + 1) if all_realized(dim, k, 1, power, ratio))


def check(*, dim: int = 4, count: Count = shattered_points) -> Finding:
    """All labellings for one centre and two, and the library's count for many N.

    Args:
        dim: largest dimension D.
    """
    decided, wrong, tested = condition_decides(), "", 0
    ratios = [Fraction(r, 100) for r in (10, 30, 49, 51, 60, 66, 68, 70, 72, 74, 76, 80, 83, 85, 88, 90, 99)]
    for D, (norm, power), rho in product(range(1, dim + 1), POWERS, ratios):
        k = most_points(D, power, rho)
        tested += 1
        if dim == D and k <= 3 and not all_realized(D, k, 2, power, rho):
            wrong = wrong or f"D = {D}, rho = {float(rho)}: two centres"
        for samples in (2, 3, 40):
            given = count(samples, D, float(rho), norm)
            if given != samples // 2 * k:
                wrong = (
                    wrong or f"l_{norm}, N = {samples}, D = {D}, rho = {float(rho)}: {samples // 2 * k}, not {given:g}"
                )
    if any(count(2, D, rho, "2") > D + 1 for D in (1, 2, 40) for rho in (0.9, 0.999)):
        wrong = "half-spaces memorize two points at every ratio and shatter D + 1 only"
    return Finding(
        holds=decided and not wrong,
        slack=1.0 if decided and not wrong else 0.0,
        tested=f"{tested} triples (D, p, rho), D up to {dim}, all labellings, in rational arithmetic; all k by z3",
        bound="floor(N/2) min(D, floor(1/(1-rho^p))) points",
        measured=f"condition k <= 1/(1-rho^p) {'decided' if decided else 'not decided'}; the count is what two "
        "prototypes per centre give",
        constant="for rho^p < 1/2 twice as many, N, are shattered by memorizing them",
        counterexample=wrong,
    )


def law(half: float = 0.5, one: float = 1.0, power: float = 1.0, cap: float = 1.0) -> Count:
    """The claim with other numbers."""

    def count(samples: int, dim: int, ratio: float, norm: Norm) -> float:
        inside = one / max(1 - ratio ** (power * float(norm)), 1e-9)
        return int(half * samples + 1e-9) * min(int(cap * dim + 1e-9), int(inside + 1e-9))

    return count


CLAIM = Claim(
    statement="robust memorizers of N points shatter floor(N/2) min(D, floor(1/(1-rho^p))) points in l_p, as many as "
    "two prototypes per centre give",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.3 and C.8 (K4); beyond rho^2 = 1 - 1/D here",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= dim <= 6": lambda dim: 1 <= dim <= 6},
    deep={"dim": 6},
    controls={
        "one more point around each centre": {"count": lambda n, d, rho, p: shattered_points(n, d, rho, p) + n // 2},
        "1/(1-rho) instead of 1/(1-rho^2)": {"count": law(power=0.5)},
        "without the minimum with D": {"count": law(cap=100)},
    },
    constants={
        "floor(N/2)": Constant(lambda f: {"count": law(half=f / 2)}),
        "1/(1-rho^p), numerator 1": Constant(lambda f: {"count": law(one=f)}),
        "exponent p of rho": Constant(lambda f: {"count": law(power=f)}),
        "min with D": Constant(
            lambda f: {"count": law(cap=f if f < 1 else 1 + 20 * (f - 1))},
        ),
    },
)
