"""How wide the first layer must be (K5): ceil(rho^2 min(N-1, D)) neurons for the points e_1, ..., e_t and 0, t =
min(N-1, D), in l_2.

The pairs (e_j, 0) have distance 1, so robustness at ratio rho needs |P e_j| >= rho for all j (K3), and sum_j |P
e_j|^2 <= m (K1): m >= rho^2 t. The first layer alone gives no more: by the Schur-Horn theorem a projection of rank m
with all diagonal entries m / t exists, for m = 2 a frame at equal angles. For its two rows the library's falsifier
finds the collision at radius sqrt(m / t) / 2 and no earlier.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from cgro.certify.necessary import first_layer_radius
from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.bounds import first_layer_width

Law = Callable[[int, int, float], int]


def l2_width(samples: int, dim: int, ratio: float) -> int:
    """The library's bound in l_2."""
    return first_layer_width(samples, dim, ratio, "2")


def frame_ratio(rows: int, vectors: int) -> float:
    """Largest rho for which the harmonic frame of that many rows (even) keeps the balls apart, by the falsifier."""
    angles = 2 * np.pi * np.outer(np.arange(1, rows // 2 + 1), np.arange(vectors)) / vectors
    W = np.concatenate([np.cos(angles), np.sin(angles)])
    points = np.vstack([np.eye(vectors), np.zeros(vectors)])
    return 2 * first_layer_radius(W, points, np.append(np.ones(vectors, dtype=int), -1), "2")


def check(*, largest_dim: int = 11, width: Law = l2_width) -> Finding:
    """The bound never exceeds what frames of 2, 4, ... rows achieve, and equals it in steps of rho.

    Args:
        largest_dim: largest D, with N = D + 1.
    """
    cases = [(m, d) for d in range(3, largest_dim + 1) for m in range(2, d, 2)]
    # Just below the ratio that m rows achieve, the bound must not exceed m.
    ratios = {case: frame_ratio(*case) for case in cases}
    tight = scan(cases, lambda c: (width(c[1] + 1, c[1], ratios[c] * (1 - 1e-6)), c[0]))
    exact = scan(cases, lambda c: (abs(ratios[c] - math.sqrt(c[0] / c[1])), 1e-7))
    # Just above it, m rows are too few for every network.
    above = scan(cases, lambda c: (c[0] + 1, width(c[1] + 1, c[1], min(ratios[c] * (1 + 1e-6), 1 - 1e-9))))
    return Finding(
        holds=tight.holds and exact.holds and above.holds,
        slack=min(tight.slack, above.slack) if exact.holds else 0.0,
        tested=f"{tight.count} frames of 2, 4, ... rows in dimensions 3 to {largest_dim}; all others by K1 and K3",
        bound="ceil(rho^2 min(N-1, D))",
        measured="frames of m rows keep the balls apart up to rho = sqrt(m / D), where the bound steps from m to m + 1",
        counterexample=f"(m, D) = {tight.violation or above.violation}" if not (tight.holds and above.holds) else "",
    )


CLAIM = Claim(
    statement="on e_1, ..., e_D and 0 the first layer needs ceil(rho^2 min(N-1, D)) neurons in l_2",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.2 (K5)",
    tag="[S]",
    evidence="numerical",
    check=check,
    hypotheses={"3 <= largest_dim <= 40": lambda largest_dim: 3 <= largest_dim <= 40},
    deep={"largest_dim": 30},
    controls={
        "1.2 rho^2 D": {"width": lambda n, d, rho: math.ceil(1.2 * rho**2 * d - 1e-9), "largest_dim": 6},
        "rho D": {"width": lambda n, d, rho: math.ceil(rho * d - 1e-9), "largest_dim": 6},
        "0.8 rho^2 D": {"width": lambda n, d, rho: math.ceil(0.8 * rho**2 * d - 1e-9), "largest_dim": 6},
    },
)
