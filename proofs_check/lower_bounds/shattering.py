"""Robust memorizers of N points shatter floor(N/2) min(D, floor(1/(1-rho^p))) points in l_p (K4), at every rho < 1,
and in l_2 floor(N/2) more.

*K4.* Around each of N/2 distant centres c put the points c + e_1, ..., c + e_k to be shattered. For labels v in
{-1, 1}^k memorize c + v with label + and c - v with label -, which are 2 eps = 2 k^(1/p) apart. The point c + e_j
differs from the prototype of its label by 1 in k - 1 coordinates and by 0 in coordinate j, so it lies in the
prototype's ball if and only if

    k - 1 <= rho^p k,   that is   k <= 1/(1-rho^p),

decided for all k and rho^p by z3. In l_2 no other scale s v of the prototypes reaches farther, shown symbolically. All
labellings of small cases are decided in rational arithmetic, for one centre and for two.

*Simplex.* In l_2 put K + 1 points e_i there instead, of a regular simplex, K = min(D, floor(1/(1-rho^2))). With a and
b of each label, neither 0, the prototypes lie on the line through both centres of mass, u beyond one by alpha, w beyond
the other by beta, in units of their distance delta^(1/2), delta = 1/a + 1/b. All are s = 2 K / sqrt(K+1) apart if 1 +
alpha + beta = K y, y^2 = 4 a b / (K+1)^2. The points of a label have the squared distance delta (A + alpha^2), A +
alpha^2 = B + beta^2 for the alpha below (sympy), and that is at most rho^2 s^2 / 4 for all K >= 2, rho^2 >= 1 - 1/K, a
and b (z3). If all labels are equal, their prototype is the centre of mass, K / (K+1) from every vertex, which is
inside, too. K = 1 is memorizing the points themselves. Built in balls for small K. For odd K and half of the labels
each, no two prototypes do at a smaller rho, wherever they are (triangle inequality, z3); the triangle has a little to
spare.

So the K4 number is exactly what its prototypes give, and the l_2 number a lower bound that no pairs improve on regular
simplices of even size. With other points more may be shattered, but for N = 2 never more than D + 1: half-spaces
memorize any two points at every rho < 1 and shatter no more (Radon).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import sympy as sp
import z3
from flint import arb

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
    """The largest k that the prototypes of K4 allow."""
    return max(k for k in range(1, dim + 1) if all_realized(dim, k, 1, power, ratio))


def simplex_decides() -> dict[str, bool]:
    """The prototypes of the simplex for all K >= 2, rho and labels; and that none do at a smaller rho, K odd."""
    a, b, y, K = sp.symbols("a b y K", positive=True)
    x, c = K * y - 1, (b - a) / (a + b)  # alpha + beta, and B - A
    A, B = (a - 1) * b / (a + b), (b - 1) * a / (a + b)
    reach = A + ((x + c / x) / 2) ** 2
    same = sp.simplify(reach - B - ((x - c / x) / 2) ** 2) == 0
    # With n = K + 1 and y^2 = 4 a b / n^2: A + B = n y^2 / 2 - 1 and c^2 = 1 - y^2.
    share = 4 * a * b / (a + b) ** 2
    sums = sp.simplify(A + B - (a + b) * share / 2 + 1) == 0 and sp.simplify(c**2 - 1 + share) == 0
    form = (x**2 + 2 * (A + B) + c**2 / x**2) / 4
    expanded = sp.simplify(reach - form) == 0
    k, z, q, s, g = z3.Reals("K y rho^2 s g")
    m = k * z - 1
    # The labels are a >= 1 and b >= 1 in number: a b >= K.
    domain = (k >= 2, z > 0, z <= 1, z * z * (k + 1) * (k + 1) >= 4 * k)
    positive = prove(m > 0, *domain).holds
    inside = prove(
        (k + 1) * z * z - 2 + m * m + (1 - z * z) * g <= (k - 1) * k * z * z, *domain, g * m * m == 1, g > 0, m > 0
    ).holds
    # |u - w| = s <= g + 2 sqrt(q s^2 / 4 - 1 + 1/a), a = (K+1)/2, g^2 = 2 / a.
    near = z3.Or(s <= g, (s - g) * (s - g) <= q * s * s - g * g * (k - 1))
    none = prove(
        z3.Not(z3.And(near, q * s * s >= g * g * (k - 1))), k >= 2, q > 0, q * k < k - 1, s > 0, g > 0, q < 1
    ).holds
    return {
        "same": bool(same and sums and expanded),
        "in the balls": bool(positive and inside),
        "no less": none is True,
        # K / (K+1) <= rho^2 s^2 / 4 for rho^2 >= 1 - 1/K, s^2 / 4 = K^2 / (K+1).
        "one label": prove(k <= (k - 1) * k, k >= 2).holds is True,
    }


def simplex_built(K: int, ratio_square: Fraction) -> bool:
    """Whether the prototypes reach all points of the simplex with K + 1 points, for all labels, in balls."""
    n, q = K + 1, arb(ratio_square.numerator) / ratio_square.denominator
    for a in range(1, n):
        b = n - a
        x, c = K * (arb(4 * a * b) / n**2).sqrt() - 1, arb(b - a) / n
        alpha, beta = (x + c / x) / 2, (x - c / x) / 2
        one, other = ([arb(i < a) / a for i in range(n)], [arb(i >= a) / b for i in range(n)])
        u = [p + alpha * (p - r) for p, r in zip(one, other, strict=True)]
        w = [r + beta * (r - p) for p, r in zip(one, other, strict=True)]
        apart = sum(((p - r) ** 2 for p, r in zip(u, w, strict=True)), arb(0))
        reach = q * arb(K**2) / (K + 1)
        near = all(
            sum(((v - (i == j)) ** 2 for j, v in enumerate(u if i < a else w)), arb(0)) <= reach for i in range(n)
        )
        if not (near and apart.overlaps(4 * arb(K**2) / (K + 1))):
            return False
    return True


def check(*, dim: int = 4, count: Count = shattered_points) -> Finding:
    """All labellings for one centre and two, the simplices, and the library's count for many N.

    Args:
        dim: largest dimension D.
    """
    steps = {"K4": condition_decides()} | simplex_decides()
    built = all(simplex_built(K, 1 - Fraction(1, K) + Fraction(1, 10**9)) for K in range(2, dim + 3))
    wrong, tested = "" if built else "a simplex", 0
    ratios = [Fraction(r, 100) for r in (10, 30, 49, 51, 60, 66, 68, 70, 72, 74, 76, 80, 83, 85, 88, 90, 99)]
    for D, (norm, power), rho in product(range(1, dim + 1), POWERS, ratios):
        k = most_points(D, power, rho)
        tested += 1
        if dim == D and k <= 3 and not all_realized(D, k, 2, power, rho):
            wrong = wrong or f"D = {D}, rho = {float(rho)}: two centres"
        for samples in (2, 3, 40):
            given = count(samples, D, float(rho), norm) - (samples // 2 if norm == "2" else 0)
            if given != samples // 2 * k:
                wrong = (
                    wrong or f"l_{norm}, N = {samples}, D = {D}, rho = {float(rho)}: {samples // 2 * k}, not {given:g}"
                )
    if any(count(2, D, rho, "2") > D + 1 for D in (1, 2, 40) for rho in (0.9, 0.999)):
        wrong = "half-spaces memorize two points at every ratio and shatter D + 1 only"
    holds = all(steps.values()) and not wrong
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"{tested} triples (D, p, rho), D up to {dim}, all labellings, in rational arithmetic; all k, K and rho "
        f"by z3; simplices of 3 to {dim + 3} points in balls",
        bound="floor(N/2) min(D, floor(1/(1-rho^p))) points; in l_2 floor(N/2) more",
        measured=f"{sum(steps.values())} of {len(steps)} steps; the count is what two prototypes per centre give",
        constant="for rho^p < 1/2 N points are shattered by memorizing them",
        counterexample=wrong,
    )


def law(half: float = 0.5, one: float = 1.0, power: float = 1.0, cap: float = 1.0, more: float = 1.0) -> Count:
    """The claim with other numbers."""

    def count(samples: int, dim: int, ratio: float, norm: Norm) -> float:
        inside = one / max(1 - ratio ** (power * float(norm)), 1e-9)
        centre = min(int(cap * dim + 1e-9), int(inside + 1e-9)) + (more if norm == "2" else 0)
        return int(half * samples + 1e-9) * centre

    return count


CLAIM = Claim(
    statement="robust memorizers of N points, on closed balls, shatter at least floor(N/2) min(D, floor(1/(1-rho^p))) "
    "points in l_p, which is all that the prototypes c + v and c - v give, and floor(N/2) more in l_2",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.3 and C.8 (K4); beyond rho^2 = 1 - 1/D, and the "
    "simplex in l_2, here",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"1 <= dim <= 6": lambda dim: 1 <= dim <= 6},
    deep={"dim": 6},
    controls={
        "one more point around each centre by the same prototypes": {
            "count": lambda n, d, rho, p: shattered_points(n, d, rho, p) + n // 2
        },
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
        "one more for each centre in l_2": Constant(lambda f: {"count": law(more=f)}),
    },
)
