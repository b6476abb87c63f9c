"""For fixed D and rho a vote of 2 D + 1 shifted grids memorizes N points robustly in l_2 with about sqrt(N) parameters,
by a count: the vote is not built. So for N far above D it is the upper bound of construction S that is loose.

    1. shifts    no two of 2 D + 1 equally spaced shifts bring a coordinate within 1/(2 D + 1) above a face, so at most
                 D shifts are bad at a point and the others win: D + 1 > D. Of 2 D shifts D may be bad, a tie.
    2. cubes     s sqrt(D) < lambda - 2 mu: a cube that meets two balls has their centres closer than lambda
    3. count     an interval of length l meets at most floor(l) + 2 unit cells, and as many where it can
    4. sizes     the formula of the library between N^(1/2) / (2 log2 N) and c(D, rho) N^(1/2) log2 N, for N up to
                 2^2048, in balls; from below sqrt(n / log2(4 e n)), of dense networks. c(D, rho) is the size at N = 4,
                 so that the growth is what is tested. At N <= 2^64 exponents .45 to .6 cannot be told apart.

The first three are decided by z3, 1 and its tie for D up to 6. Votes are then counted in rational arithmetic for random
balls, every bad grid voting against the label. The networks that look up cells are those of `grid_cells`, whose count
`robust-size` checks; the vote itself is not built.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import z3
from flint import arb

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import possible, prove
from cgro.memorizers.bounds import memorizer_size_lower_bound
from cgro.memorizers.shifted_grids import shifted_grids_total


def shifts_suffice(dim: int, shifts: int, width: Fraction) -> bool:
    """At most one of the shifts is bad in a coordinate, and the good ones outnumber D bad ones."""
    u = z3.Real("u")
    i, j, a, b = z3.Ints("i j a b")

    def bad(shift: z3.ArithRef, cell: z3.ArithRef) -> z3.BoolRef:
        above = u + z3.ToReal(shift) / shifts - z3.ToReal(cell)
        return z3.And(above >= 0, above < z3.RealVal(str(width)), shift >= 0, shift < shifts)

    both = possible(bad(i, a), bad(j, b), i < j, u >= 0, u < 1)
    return both is False and shifts - dim > dim


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
    """The three steps, votes, and sizes for N = 4, 8, ..., 2^64, 2^128, ..., 2^largest, D = 1, 2, 3 and three ratios.

    Args:
        largest: log2 of the largest N.
        exponent: claimed exponent of N.
        seed: seed of the points whose votes are counted.
        part: claimed diagonal of a cube over lambda - 2 mu.
        more: claimed number of cells of an interval beyond floor(l).
        fewer: how many shifts fewer than 2 D + 1 are claimed.
    """
    steps = {
        "shifts": all(shifts_suffice(D, 2 * D + 1 - fewer, Fraction(1, 2 * D + 1 - fewer)) for D in range(1, 7)),
        "cubes": cubes_hold_one_label(part) is True,
        "no larger cube": cubes_hold_one_label(part * 1.001) is False,
        "cells": cells_of_an_interval(more) is True and cells_of_an_interval(more - 1) is False,
        "votes": votes_right(seed, -fewer),
    }
    wrong, open_at, ratio = [name for name, held in steps.items() if not held], "", 0.0
    for dim in (1, 2, 3):
        for rho in (0.3, 0.5, 0.9):
            for e in [*range(2, min(largest, 64) + 1), *(2**k for k in range(7, 12) if 2**k <= largest)]:
                high, low = shifted_grids_total(2**e, dim, rho, 1000.0), memorizer_size_lower_bound(2**e, dim, rho)
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
        tested=f"all lambda, mu, l; D up to 6 shifts; N up to 2^{largest}, D = 1, 2, 3, rho = .3, .5, .9, "
        "Delta/lambda = 1000",
        bound="N^(1/2) / (2 log_2 N) <= parameters <= c(D, rho) N^(1/2) log_2 N",
        measured=f"{sum(steps.values())} of {len(steps)} steps; c(D, .5) = "
        + ", ".join(f"{most(D, 0.5):.3g}" for D in (1, 2, 3))
        + (f"; open at {open_at}" if open_at else ""),
        constant=f"at N = 10^9, D = 2, rho = .5 the vote has {shifted_grids_total(10**9, 2, 0.5, 1e3):.3g} parameters, "
        f"construction S more than {10**9 // 2 * 5:.3g}",
        counterexample=wrong[0] if wrong else "",
    )


def most(dim: int, ratio: float) -> float:
    """c(D, rho): the size at N = 4 over sqrt(N) log_2 N; later sizes have less."""
    return shifted_grids_total(4, dim, ratio, 1000.0) / 4


CLAIM = Claim(
    statement="for fixed D and rho < 1 a vote of 2 D + 1 shifted grids, counted and not built, memorizes N points "
    "robustly with N^(1/2) parameters up to log N; dense architectures take as many up to log N",
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
        "N^(1/2)": Constant(lambda f: {"exponent": f / 2}, refuted=(0.95, 1.05)),
        "2 D + 1 shifts": Constant(
            None, refuted=(), otherwise="an integer: 2 D shifts are refuted, more shifts are a weaker claim"
        ),
    },
)
