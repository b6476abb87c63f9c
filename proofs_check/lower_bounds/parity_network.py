"""A single labelling of the grid is cheap: parity labels take 9 (D-1)(K-1) parameters, robustly. All labellings
together are not.

The network computes q(x_k) = i_k - 1 on every ball, sums, and folds: (-1)^s by a zigzag of hinges. With exact weights
that is decided for all K, D and rho: on the whole interval of radius rho / (2 K) around i / K step j of q is 1 for j <
i and 0 for others (z3, so that q = i - 1), and the zigzag moves by -2 (-1)^s from s to s + 1 (sympy). The weights of
the library are those, rounded: its networks are evaluated in rational arithmetic at all corners of l_inf balls for
several rho, where q is i_k - 1 up to rounding; q is monotone in its coordinate. Their non-zero parameters are counted:
exactly 9 (D-1)(K-1) over a grid of D and K. So the lower bound concerns the worst labelling (`robust-size`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import sympy as sp
import z3

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, prove, relu
from cgro.memorizers.grid_bounds import parity, parity_network
from cgro.networks.exact import ExactNetwork

Law = Callable[[int, int], float]


def size_law(K: int, dim: int) -> int:
    """9 (D-1)(K-1)."""
    return 9 * (dim - 1) * (K - 1)


def exact_weights_are_right(reach: float) -> bool:
    """q = i - 1 on |K x - i| <= reach rho, step by step, and the zigzag's value (-1)^s, for all K, i, s and rho."""
    i, j = z3.Ints("i j")
    u, rho = z3.Reals("u rho")
    start, end = z3.ToReal(j) + rho / 2, z3.ToReal(j) + 1 - rho / 2

    def step(value: int) -> Formula:
        # Times w = end - start = 1 - rho, which is positive.
        return relu(u - start) - relu(u - end) == value * (1 - rho)

    part = z3.RealVal(str(Fraction(reach).limit_denominator(1000)))
    ball = (rho > 0, rho < 1, u - z3.ToReal(i) <= part * rho, z3.ToReal(i) - u <= part * rho)
    steps = prove(step(1), *ball, j < i).holds is True and prove(step(0), *ball, j >= i).holds is True
    s, k = sp.symbols("s k", integer=True, positive=True)
    slope = -2 + sp.summation(4 * (-1) ** (k - 1), (k, 1, s))
    return bool(steps and sp.simplify(slope + 2 * (-1) ** s) == 0)


def right_on_balls(K: int, dim: int, ratio: float) -> bool:
    """Signs at all corners of all balls, exactly (x_D does not matter and stays 1/2)."""
    network = ExactNetwork.of(parity_network(K, dim, ratio))
    # The weights are rounded: stay a little inside the ball.
    reach = Fraction(ratio) / (2 * K) * (1 - Fraction(1, 10**9))
    for cell, y in zip(product(range(1, K + 1), repeat=dim - 1), parity(K, dim), strict=True):
        for corner in product((-1, 1), repeat=dim - 1):
            x = [Fraction(i, K) + s * reach for i, s in zip(cell, corner, strict=True)]
            if not network.evaluate([*x, Fraction(1, 2)])[0] * int(y) > 0:
                return False
    return True


def check(
    *,
    largest: int = 8,
    ratios: tuple[float, ...] = (0.1, 0.5, 0.9, 0.99, 0.9999),
    reach: float = 0.5,
    law: Law = size_law,
) -> Finding:
    """The proof, corners for small grids, counts for larger ones.

    Args:
        largest: largest K and D of the counted networks.
        ratios: robustness ratios rho of the built networks.
        reach: claimed radius over rho / K.
    """
    small = [(K, dim) for K in (2, 3) for dim in (2, 3)] + [(4, 2)]
    wrong = [(*case, rho) for case in small for rho in ratios if not right_on_balls(*case, rho)]
    proved = exact_weights_are_right(reach)
    cases = [(K, dim) for K in range(2, largest + 1) for dim in range(2, largest + 1)]
    found = scan(cases, lambda c: (abs(parity_network(*c, ratios[0]).size.nonzero - law(*c)), 0))
    return found.finding(
        "(K, D)",
        proof=proved and not wrong,
        tested="exact weights for all K, D and rho; all corners of balls at rho = "
        f"{', '.join(f'{r:g}' for r in ratios)} for {len(small)} grids; counts for K, D up to {largest}",
        bound="9 (D-1)(K-1) non-zero parameters, exactly",
        measured=f"steps proved: {proved}; signs {'right' if not wrong else f'wrong at {wrong[0]}'}",
        counterexample="" if proved else f"q is no integer on balls of radius {reach:g} rho / K",
    )


CLAIM = Claim(
    statement="the parity network has 9 (D-1)(K-1) non-zero parameters, exactly so for all K and D counted, and with "
    "exact weights is right on all closed l_inf balls of radius rho / (2 K) around the grid, at every rho < 1; rounded "
    "ones are at the grids and rho tested",
    source="derived here, against Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 4.3",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "2 <= largest <= 30": lambda largest: 2 <= largest <= 30,
        "0 < ratios < 1": lambda ratios: len(ratios) > 0 and all(0 < r < 1 for r in ratios),
    },
    deep={"largest": 16},
    controls={
        "9 (D-1)(K-1) + 1": {"law": lambda K, dim: size_law(K, dim) + 1, "largest": 4},
        "9 (D-1) + K": {"law": lambda K, dim: 9 * (dim - 1) + K, "largest": 4},
    },
    constants={
        "9": Constant(lambda f: {"law": lambda K, dim: f * size_law(K, dim)}),
        "radius rho / (2 K)": Constant(
            lambda f: {"reach": f / 2}, refuted=(1.05,), otherwise="smaller balls are a weaker claim"
        ),
    },
)
