"""Robust memorization with O~(sqrt N) parameters in a fixed dimension, at every ratio: a vote of shifted grids.

The plan and its size; no network is built here.

`grid_cells` needs balls that stay away from the faces of one grid. Take 2 D + 1 grids instead, shifted by multiples of
s / (2 D + 1) along all axes. The floor network of a grid is exact unless a coordinate lies within c s above a face.
With c <= 1/(2 D + 1) that happens for at most one shift per coordinate, so every point has D + 1 exact grids or more.
With s sqrt(D) < lambda - 2 mu no cube meets balls of two labels, so exact grids vote for the label of the ball, and
clipped to [0, 1] the others cannot outvote them: f = sum_j votes_j - (D + 1/2) has margin 1/2 on all balls, for every
rho < 1.

A ball meets at most C = (floor(rho sqrt(D) / (1 - rho)) + 2)^D cubes, so each grid stores n C of them, n <= N/2, and
O~(sqrt(n C)) parameters do that. Derived here [D], from Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2
(i), whose radius is below 1/(5 N sqrt D) of the largest.
"""

from __future__ import annotations

import math

from cgro.base.validate import between, integer, real
from cgro.memorizers.robust_size import lookup_total


def cubes_per_ball(dim: int, ratio: float) -> int:
    """C = (floor(rho sqrt(D) / (1 - rho)) + 2)^D, for cubes of any side s a little below (lambda - 2 mu) / sqrt(D)."""
    integer("dim", dim, low=1)
    between("ratio", ratio, 0, 1, open_low=True, open_high=True)
    # Plus a rounding error: too many cubes are no mistake.
    side: int = math.floor(ratio * math.sqrt(dim) / (1 - ratio) + 1e-9) + 2
    return side**dim


def shifted_grids_total(samples: int, dim: int, ratio: float, spread: float) -> int:
    """Parameters, zeros included, with which the vote memorizes any N points with spread Delta / lambda, two labels.

        (2 D + 1) (lookup(n C cubes of q D bits, D) + 4) + 2,   q = ceil(log2(sqrt(D) (2 spread / (1 - rho)) + 3))

    The networks of all grids lie side by side, without connections; as a dense network the vote would have up to
    2 D + 1 times as many, the same order for fixed D. Raises: UserError for values outside of their ranges.
    """
    return vote_total(samples, dim, ratio, grid_digits(dim, ratio, spread))


def grid_digits(dim: int, ratio: float, spread: float) -> int:
    """q = ceil(log2(sqrt(D) (2 spread / (1 - rho)) + 3)), the binary digits of a cube in one coordinate."""
    integer("dim", dim, low=1)
    between("ratio", ratio, 0, 1, open_low=True, open_high=True)
    real("spread", spread)
    # The points and their balls reach over Delta + 2 mu <= 2 Delta, and one more cube is needed on each side.
    return math.ceil(math.log2(math.sqrt(dim) * 2 * max(spread, 1.0) / (1 - ratio) + 3))


def vote_total(samples: int, dim: int, ratio: float, digits: int) -> int:
    """The parameters of `shifted_grids_total` for a given number of digits q."""
    integer("samples", samples, low=2)
    stored = max(1, samples // 2) * cubes_per_ball(dim, ratio)
    return (2 * dim + 1) * (lookup_total(stored, digits, dim) + 4) + 2
