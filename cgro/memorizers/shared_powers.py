"""Shallow relatives of construction S: powers of coordinates by piecewise linear interpolation, shared by all balls.

    sum_k (t_k - t_ik)^p = sum_k sum_j binom(p, j) (-t_ik)^(p-j) t_k^j

is linear in the features t_k^j. All of them are interpolated on one grid of S equal pieces in each coordinate, so
what the network computes is the interpolation of (t - t_ik)^p itself: too large by at most p (p-1) / (8 S^2).
p = 2 is the l_2 ball; an even p with D mu^p < (lambda - mu)^p serves l_inf. [D]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import comb

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.memorizers.ball_sum import Cube, scaled
from cgro.memorizers.hinges import require
from cgro.memorizers.task import Code, Memorizer, Task, U, encode
from cgro.networks.readout import Readout
from cgro.networks.relu import PrecisionError, ReluNetwork, Size

_LARGEST_GRID = 2**20
_LARGEST_POWER = 52
"""Coefficients grow as 2^p: beyond this power, rounding exceeds every p-th power in the unit cube."""


def shallow_ball_sum(task: Task, *, readout: Readout | None = None) -> Memorizer:
    """Construction S with interpolated squares: l_2, any rho < 1, three hidden layers D S, D + 1, n.

    S = ceil(sqrt(D / (2 gap))) pieces in each coordinate, gap = r^2 - mu^2 in the unit cube, so that the squares' error
    D / (4 S^2) is at most half the gap.

        total D S (D+1) + (D S + 1)(D+1) + n (D+2) + n + 1                                   (sign read-out)

    Raises: UserError if the norm is not l_2; PrecisionError if float64 cannot tell the balls apart.
    """
    require(task, "2", "shallow_ball_sum")
    return _memorizer(task, scaled(task), 2, encode(task, readout), "shallow_ball_sum", {"readout": readout})


def even_power(task: Task, *, power: int | None = None, readout: Readout | None = None) -> Memorizer:
    """l_inf by the l_p norm of a large even power p: D mu^p < (lambda - mu)^p; three hidden layers D S, D (p-1) + 1, n.

    Default: the smallest such p, > ln D / ln((2 - rho) / rho). Total O(N D p) + O(D^2 S p), while hinges cost O(N D^2).

    Raises: UserError if the norm is not l_inf, or the power is odd or too small, naming the smallest; PrecisionError
        if float64 cannot tell the balls apart, which large powers soon reach.
    """
    require(task, "inf", "even_power")
    cube = scaled(task)
    outer = cube.separation - cube.radius
    smallest = smallest_power(task.data.dim, cube.radius, outer)
    power = smallest if power is None else power
    if power % 2 or power < smallest:
        raise UserError(f"power must be even and at least {smallest:,} at rho = {task.ratio:.3g}, got {power:,}")
    if power > _LARGEST_POWER:
        raise PrecisionError(
            f"power is {power:,}: float64 carries powers up to {_LARGEST_POWER}, and rho = {task.ratio:.6g} takes "
            f"{smallest:,} or more in {task.data.dim:,} dimensions; take a smaller radius or another construction"
        )
    options: dict[str, Any] = {"power": power, "readout": readout}
    return _memorizer(task, cube, power, encode(task, readout), "even_power", options)


def smallest_power(dim: int, inner: float, outer: float) -> int:
    """Smallest even p with dim inner^p < outer^p, for 0 < inner < outer. Raises: PrecisionError if float64 does not
    tell the two apart."""
    if not outer / inner > 1:
        raise PrecisionError(
            f"balls of radius {inner:g} and their neighbours at {outer:g} (in the unit cube) are the same in float64: "
            "take a smaller radius, or shift the points towards 0"
        )
    return 2 * max(1, math.floor(math.log(dim) / math.log(outer / inner) / 2) + 1)


def _memorizer(task: Task, cube: Cube, p: int, code: Code, name: str, options: dict[str, Any]) -> Memorizer:
    D, n = task.data.dim, len(code.stored)
    # Largest p-th power of distances on the own ball, smallest on balls of other labels.
    own = (D if task.norm == "inf" else 1) * cube.radius**p * (1 + 8 * p * U)
    reach = (cube.separation - cube.radius) ** p * (1 - 8 * p * U)
    gap = reach - own
    S = max(1, math.ceil(math.sqrt(p * (p - 1) * D / (4 * gap)))) if gap > 0 else _LARGEST_GRID + 1
    eta = p * (p - 1) * D / (8 * S**2)
    error = _rounding(cube, p)
    low = gap - eta - 2 * error
    if S > _LARGEST_GRID or not low > gap / 8:
        raise PrecisionError(
            f"gap between balls is {gap:g} for power {p} in the unit cube, rounding costs {error:g}, the grid has "
            f"{S:g} pieces: too fine for float64 or memory; take a smaller radius or another construction"
        )
    low *= 1 - 8 * U
    # Sparse rows of hinges and features, with what sorts them.
    require_memory(60.0 * p * D * S, f"a grid of {S:,} pieces in {D:,} dimensions, at rho = {task.ratio:.6g},")
    hinges, features = _interpolation(D, p, S, cube)
    centres = cube.points[code.stored]
    # Signed coefficients of t_k^j; that of t_k^p is shared.
    columns = [-comb(p, j) * (-centres) ** (p - j) for j in range(1, p)]
    weight = np.column_stack([*columns, -np.ones(n)])
    bias = reach - error - np.array([math.fsum(row) for row in centres**p])
    head, margin = code.head(low)
    layers = [hinges, features, (weight, bias), *head]
    nonzero, total, neurons = code.head_size()
    bottleneck = D * (p - 1) + 1
    claimed = Size(
        nonzero=2 * D * S + D + (p - 1) * D * S + n * (bottleneck + 1) + nonzero,
        total=D * S * (D + 1) + (D * S + 1) * bottleneck + n * (bottleneck + 1) + total,
        neurons=D * S + bottleneck + n + neurons,
        depth=3 + len(head),
        width=max(D * S, bottleneck, n),
    )
    return Memorizer(task, ReluNetwork.of(layers), code.readout, name, options, claimed, margin)


def _interpolation(D: int, p: int, S: int, cube: Cube) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Hinges relu(t_k - s/S), s < S, and features t_1^1..t_D^1, ..., t_1^(p-1)..t_D^(p-1), sum_k t_k^p."""
    knots = np.arange(S) / S
    first = sparse.kron(cube.weight, np.ones((S, 1)), format="csr")
    bias = np.repeat(cube.bias, S) - np.tile(knots, D)
    rows = [sparse.kron(sparse.eye_array(D), _slopes(j, S)[None, :]) for j in range(1, p)]
    last = np.tile(_slopes(p, S), D)[None, :]
    weight = sparse.vstack([*rows, sparse.csr_array(last)], format="csr")
    weight.eliminate_zeros()
    return (first, bias), (weight, np.zeros(weight.shape[0]))


def _slopes(j: int, S: int) -> np.ndarray:
    """Change of slope at hinge s in the interpolation of t^j at the knots s / S."""
    if j == 1:
        return np.eye(1, S)[0]
    values = (np.arange(S + 1) / S) ** j
    slopes = np.diff(values) * S
    return np.diff(slopes, prepend=0.0)


def _rounding(cube: Cube, p: int) -> float:
    """Bound of the error of a ball's sum due to rounded knots, slopes, coefficients and biases.

    A coefficient binom(p, j) t_i^(p-j) is wrong by a relative (p+2) u and by p e; all binomials sum to 2^p, features
    are at most 1. Knots are wrong by (1 + |b|) u, and slopes change by p in all. Slopes are differences of values at
    knots, each wrong by (j+1) u, so they telescope; differences of slopes, rounded, add p u.
    """
    D = len(cube.bias)
    features = 2 * p * U * (1 + float(np.abs(cube.bias).max())) + (2 * p + 4) * U
    return D * 2**p * ((p + 4) * U + p * cube.error + features) + 4 * U
