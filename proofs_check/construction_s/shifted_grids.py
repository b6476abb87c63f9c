"""For fixed D and rho a vote of 2 D + 1 shifted grids memorizes N points with Delta <= N lambda robustly in l_2 with
about sqrt(N) parameters, by a count: the vote is not built. So for N far above D it is the upper bound of construction
S that is loose.

    1. shifts    no two of 2 D + 1 equally spaced shifts bring a coordinate within 1/(2 D + 1) above a face, so at most
                 D shifts are bad at a point and the others win: D + 1 > D. Of 2 D shifts D may be bad, a tie.
    2. cubes     s sqrt(D) < lambda - 2 mu: a cube that meets two balls has their centres closer than lambda
    3. count     an interval of length l meets at most floor(l) + 2 unit cells, and as many where it can
    4. sizes     the formula of the library at Delta <= N lambda is at most c(D, rho) N^(1/2) log2 N, c explicit: for
    all
                 N >= 4, D and rho by z3 and signs, and once more in balls for N up to 2^2048. At N <= 2^64 exponents
                 .45 to .6 cannot be told apart.
    5. below     N points lambda apart on a line have Delta < N lambda and all 2^N labellings, so a dense architecture
                 that memorizes them all has W^2 log2(4 e N) >= N (`memorizer-parameters`), W >= N^(1/2) / (2 log2 N).

The number of digits of the grids grows with log2(Delta / lambda), so some bound on it is needed above; and below, since
on a line Delta / lambda labels alternate at most, whatever N is. Steps 1 to 3 are decided by z3 for every D. Votes are
then counted in rational arithmetic for random balls, every bad grid voting against the label. The networks that look
up cells are those of `grid_cells`, whose count `robust-size` checks; the vote itself is not built.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
import z3
from flint import arb

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import decide
from cgro.memorizers.shifted_grids import cubes_per_ball, grid_digits, shifted_grids_total, vote_total


def shifts_suffice(fewer: int) -> bool:
    """At most one of the n = 2 D + 1 - fewer shifts is bad in a coordinate, and the good ones outnumber D bad ones, for
    every D."""
    v = z3.Real("v")
    i, j, a, cells, n, D = z3.Ints("i j a cells n D")
    # v is n times the coordinate above a face; shift i is bad if v + i is less than 1 above a multiple of n, a here.
    first, second = v + z3.ToReal(i - a), v + z3.ToReal(j - a - cells)
    bad = [z3.And(above >= 0, above < 1) for above in (first, second)]
    # Faces are n apart: `cells` is a multiple of n.
    faces = z3.Or(cells <= -n, cells == 0, cells >= n)
    one = prove(i == j, *bad, faces, n >= 1, i >= 0, j >= 0, i < n, j < n).holds
    outvoted = prove(n - D > D, n == 2 * D + 1 - fewer, D >= 1).holds
    return one is True and outvoted is True


def cubes_hold_one_label(part: float) -> bool | None:
    """Centres p, q with |p - x|, |q - y| <= mu and |x - y| <= s sqrt(D) are closer than lambda if s sqrt(D) < part
    (lambda - 2 mu)."""
    lam, mu, diagonal, apart = z3.Reals("lambda mu diagonal apart")
    triangle = apart <= 2 * mu + diagonal
    return prove(apart < lam, triangle, mu > 0, lam > 2 * mu, diagonal < part * (lam - 2 * mu)).holds


def cells_of_an_interval(more: int) -> bool | None:
    """Whether floor(a + l) - floor(a) + 1 <= floor(l) + more."""
    a, length = z3.Reals("a l")
    return prove(z3.ToInt(a + length) - z3.ToInt(a) + 1 <= z3.ToInt(length) + more, length >= 0).holds


def votes_right(seed: int, shifts_more: int) -> bool:
    """Random balls in D = 1, 2, 3: the label has more exact grids than there are others."""
    generator = np.random.default_rng(seed)
    for _ in range(300):
        dim = int(generator.integers(1, 4))
        shifts = 2 * dim + 1 + shifts_more
        x = [Fraction(int(v), 840) for v in generator.integers(0, 8400, dim)]
        exact = sum(all((v + Fraction(j, shifts)) % 1 >= Fraction(1, shifts) for v in x) for j in range(shifts))
        if exact <= shifts - exact:
            return False
    return True


def check(
    *, largest: int = 2048, exponent: float = 0.5, seed: int = 0, part: float = 1.0, more: int = 2, fewer: int = 0
) -> Finding:
    """The steps, votes, and sizes for N = 4, 8, ..., 2^64, 2^128, ..., 2^largest, D = 1, 2, 3 and three ratios.

    Args:
        largest: log2 of the largest N.
        exponent: claimed exponent of N.
        seed: seed of the points whose votes are counted.
        part: claimed diagonal of a cube over lambda - 2 mu.
        more: claimed number of cells of an interval beyond floor(l).
        fewer: how many shifts fewer than 2 D + 1 are claimed.
    """
    steps = {
        "shifts": shifts_suffice(fewer),
        "cubes": cubes_hold_one_label(part) is True,
        "no larger cube": cubes_hold_one_label(part * 1.001) is False,
        "cells": cells_of_an_interval(more) is True and cells_of_an_interval(more - 1) is False,
        "votes": votes_right(seed, -fewer),
        "above": upper_holds(),
        "below": below_holds(),
    }
    wrong, open_at, ratio = [name for name, held in steps.items() if not held], "", 0.0
    for dim in (1, 2, 3):
        for rho in (0.3, 0.5, 0.9):
            for e in [*range(2, min(largest, 64) + 1), *(2**k for k in range(7, 12) if 2**k <= largest)]:
                high, low = vote(e, dim, rho), line_size(e)
                size = arb(2) ** (exponent * e)
                claimed_low, claimed_high = size / (2 * e), size * most(dim, rho) * e
                if claimed_low > high or claimed_high < low:
                    wrong.append(
                        f"N = 2^{e}, D = {dim}, rho = {rho}: between 2^{low.bit_length()} and 2^{high.bit_length()}"
                    )
                elif not (claimed_low <= low and high <= claimed_high):
                    open_at = open_at or f"N = 2^{e}, D = {dim}, rho = {rho}"
                ratio = max(ratio, float(high / claimed_high))
    holds = False if wrong else None if open_at else True
    return Finding(
        holds=holds,
        slack=max(1 / ratio, 1.0) if holds else 0.0,
        tested=f"steps for all N >= 4, D, rho, lambda, mu and l; sizes for N = 4, 8, ... up to 2^{min(largest, 64)} "
        f"and 2^128, 2^256, ... up to 2^{largest}, D = 1, 2, 3, rho = .3, .5, .9, Delta = N lambda",
        bound="N^(1/2) / (2 log_2 N) <= parameters <= c(D, rho) N^(1/2) log_2 N",
        measured=f"{sum(steps.values())} of {len(steps)} steps; c(D, .5) = "
        + ", ".join(f"{most(D, 0.5):.3g}" for D in (1, 2, 3))
        + (f"; open at {open_at}" if open_at else ""),
        constant=f"at N = 10^9, D = 2, rho = .5 the vote has {shifted_grids_total(10**9, 2, 0.5, 1e9):.3g} parameters, "
        f"construction S more than {10**9 // 2 * 5:.3g}",
        counterexample=wrong[0] if wrong else "",
    )


def vote(e: int, dim: int, ratio: float) -> int:
    """The library's count for N = 2^e and Delta = N lambda, from above."""
    # sqrt(D) 2 spread / (1 - rho) + 3 <= spread (sqrt(D) 2 / (1 - rho) + 3).
    return vote_total(2**e, dim, ratio, e + grid_digits(dim, ratio, 1.0))


def most(dim: int, ratio: float) -> float:
    """c(D, rho), rounded up: p digits beyond log_2 N, and n C cubes of which s is the part in the root."""
    p = grid_digits(dim, ratio, 1.0) + 1
    s = math.sqrt(cubes_per_ball(dim, ratio) * (dim + (dim * p + 2) / 2) * 110 / 196)
    return factor(dim, p, s * (1 + 1e-9)) * (1 + 1e-9)


def factor(dim: Any, p: Any, s: Any) -> Any:
    """c of D, p and s = sqrt(110 C g / 196), g = D + (D p + 2) / 2."""
    g = dim + (dim * p + 2) / 2
    digits = (3 * dim + 2) * ((3 * dim + 1) * (1 + p / 2) / 2 + 0.75)
    return (2 * dim + 1) * (digits + 18 + 110 * g + 147 * s) + 1


def upper_holds() -> bool:
    """vote_total <= c N^(1/2) log_2 N for all N >= 4, D and rho, Delta <= N lambda, up to the definition of s."""
    # Of `lookup_total`: B = Q + 2, groups of x = floor(y) or 1 cells, G groups, y^2 = 49 M / (110 B), Z = M / y.
    M, x, y, B, Z, G = z3.Reals("M x y B Z G")
    floor = z3.Or(z3.And(x <= y, 2 * x >= y), z3.And(y < 1, x == 1))
    given = (y * Z == M, 110 * B * y == 49 * Z, G * x <= M + x, floor, x >= 1, y > 0, Z > 0, B > 0)
    groups = prove(49 * G + 110 * x * B <= 147 * Z + 49 + 220 * B, *given)
    D, q, p, L, T = z3.Reals("D q p L T")
    digits = prove(D * q + 2 <= L * (D + (D * p + 2) / 2), q <= L + p, L >= 2, D >= 1, p >= 1)
    # Z^2 = (110 / 49) M B <= 2 L T^2 with T = N^(1/2) s, as M <= N C / 2 and B <= L g.
    root = prove(Z <= T * L, Z * Z <= 2 * L * T * T, L >= 2, T > 0, Z > 0)
    d, e, s, r, ell = sp.symbols("D p s R L")  # R = N^(1/2)
    g = d + (d * e + 2) / 2
    lookup = (3 * d + 2) * ((3 * d + 1) * ell * (1 + e / 2) + 3) + 19 + 147 * r * ell * s + 49 + 220 * ell * g
    total = (2 * d + 1) * (lookup + 4) + 2
    c = sp.nsimplify(factor(d, e, s))
    added = decide(c * r * ell - total, {d: 1, e: 1, s: 0, r: 2, ell: 2})
    return all(part.holds is True for part in (groups, digits, root, added))


def line_size(e: int) -> int:
    """The least W with W^2 log2(4 e N) >= N, N = 2^e, from below: W > sqrt(N / (e + 4)), as log2(4 e) < 4."""
    return math.isqrt(2**e // (e + 4)) + 1


def below_holds() -> bool:
    """sqrt(N / log2(4 e N)) >= N^(1/2) / (2 log2 N) for all N >= 4, that is 4 L^2 >= L + log2(4 e), L = log2 N >= 2."""
    L = z3.Real("L")
    return arb(1).exp() < 4 and prove(4 * L * L >= L + 4, L >= 2).holds is True


CLAIM = Claim(
    statement="for rho < 1 the majority of 2 D + 1 shifted grids is right on all l_2 balls; where Delta <= N lambda "
    "and N >= 4 the vote, counted as blocks without connections and not built, has at most c(D, rho) N^(1/2) log_2 N "
    "parameters, c explicit, and dense architectures that memorize all such points have at least N^(1/2) / (2 log_2 N)",
    source="derived here; lower bound: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.3",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"4 <= largest <= 2048": lambda largest: 4 <= largest <= 2048},
    controls={
        "exponent 0.4": {"exponent": 0.4},
        "exponent 0.6": {"exponent": 0.6},
        "2 D shifts": {"fewer": 1, "largest": 4},
        "cubes with diagonal lambda": {"part": 2.0, "largest": 4},
        "one cell more than floor(l)": {"more": 1, "largest": 4},
    },
    constants={
        "N >= 4": Constant(None, refuted=(), otherwise="where log_2 N is at least 2; fewer points need no bound"),
        "2 in N^(1/2) / (2 log_2 N)": Constant(
            None, refuted=(), otherwise="loose: the least size is about sqrt(N / log_2 N), no smaller factor is claimed"
        ),
        "N^(1/2)": Constant(lambda f: {"exponent": f / 2}, refuted=(0.95, 1.05)),
        "2 D + 1 shifts": Constant(
            None, refuted=(), otherwise="an integer: 2 D shifts are refuted, more shifts are a weaker claim"
        ),
    },
)
