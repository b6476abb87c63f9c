"""A single labelling of the grid is cheap: parity labels take 9 (D-1)(K-1) parameters, robustly. All labellings
together are not.

The library's network computes q(x_k) = i_k - 1 on every ball, sums, and folds: (-1)^s by a zigzag of hinges. It is
evaluated in rational arithmetic at all corners of all l_inf balls, where q is i_k - 1 up to rounding; q is monotone in
its coordinate, so corners suffice. Its non-zero parameters are counted: exactly 9 (D-1)(K-1) over a grid of D and K.
So the lower bound concerns the worst labelling (`robust-size`).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.memorizers.grid_bounds import parity, parity_network
from cgro.networks.exact import ExactNetwork

Law = Callable[[int, int], float]


def size_law(K: int, dim: int) -> int:
    """9 (D-1)(K-1)."""
    return 9 * (dim - 1) * (K - 1)


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


def check(*, largest: int = 8, ratio: float = 0.9, law: Law = size_law) -> Finding:
    """Corners for small grids, counts for larger ones.

    Args:
        largest: largest K and D of the counted networks.
        ratio: robustness ratio rho.
    """
    small = [(K, dim) for K in (2, 3) for dim in (2, 3)] + [(4, 2)]
    wrong = [case for case in small if not right_on_balls(*case, ratio)]
    cases = [(K, dim) for K in range(2, largest + 1) for dim in range(2, largest + 1)]
    found = scan(cases, lambda c: (abs(parity_network(*c, ratio).size.nonzero - law(*c)), 0))
    return found.finding(
        "(K, D)",
        proof=not wrong,
        tested=f"all corners of balls at rho = {ratio:g} for {len(small)} grids; counts for K, D up to {largest}",
        bound="9 (D-1)(K-1) non-zero parameters, exactly",
        measured=f"signs {'right' if not wrong else f'wrong at {wrong[0]}'}",
    )


CLAIM = Claim(
    statement="the parity network has exactly 9 (D-1)(K-1) non-zero parameters and is right on all l_inf balls "
    "of radius rho / (2 K) around the grid, at every rho < 1 up to rounding",
    source="derived here, against Li et al., NeurIPS 2022, arXiv:2205.13863, Theorem 4.3",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"2 <= largest <= 30": lambda largest: 2 <= largest <= 30, "0 < ratio < 1": lambda ratio: 0 < ratio < 1},
    deep={"largest": 16},
    controls={
        "9 (D-1)(K-1) + 1": {"law": lambda K, dim: size_law(K, dim) + 1, "largest": 4},
        "9 (D-1) + K": {"law": lambda K, dim: 9 * (dim - 1) + K, "largest": 4},
    },
    constants={
        "9": Constant(lambda f: {"law": lambda K, dim: f * size_law(K, dim)}),
        "radius rho / (2 K)": Constant(None, refuted=(), otherwise="defines rho: neighbouring balls touch at rho = 1"),
    },
)
