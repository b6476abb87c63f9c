"""Construction S: an l_2 memorizer whose balls share one feature, the square of the norm.

    |x - x_i|^2 = |x|^2 - 2 <x, x_i> + |x_i|^2

needs |x|^2 once, whatever the number of points, and one neuron for each stored ball. With t = V x + b in [0, 1]^m on
all balls, q(t) = sum_k t_k - A(t) an upper bound of |t|^2 with error at most eta, and, in t-space, the separation
lambda_t and the balls' radius mu_t:

    h_i = relu(r^2 - q(t) + 2 <t, t_i> - |t_i|^2),   r = lambda_t - mu_t

Own ball: |t - t_i| <= mu_t, so h_i >= r^2 - mu_t^2 - eta =: M > 0. Ball of another label: |t - t_i| >= r and
q >= |t|^2, so h_i = 0. Valid for every rho < 1. Sizes with n stored points, m levels, no projection, sign read-out:

    total n (D+3) + 11 D^2 + 12 D + 4 + (m-2)(9 D^2 + 9 D + 2),   non-zero n (D+3) + 15 D + 2 + (m-2)(8 D + 1),  m >= 2

Before the ball layer all arithmetic of weights is exact: b is rounded so that b - 1/2 is exact too, and t is *defined*
by the rounded V and b. The ball layer's rounding is bounded by `_rounding`, and taken out of r^2 and of M.
Source: derived here [D]; squares by Yarotsky 2017.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from cgro.memorizers.hinges import require
from cgro.memorizers.task import Code, Memorizer, Task, U, encode
from cgro.networks.gadgets import sawtooth
from cgro.networks.readout import Readout
from cgro.networks.relu import PrecisionError, ReluNetwork, Size


@dataclass(frozen=True, eq=False)
class Cube:
    """The affine map t = weight x + bias, of m coordinates, that takes all balls into [0, 1]^m."""

    weight: Any
    bias: Float[np.ndarray, " m"]
    points: Float[np.ndarray, "N m"]
    """t of every point, in float64."""
    error: float
    """Largest error of a coordinate of `points`."""
    radius: float
    """Upper bound of the radius of the image of a ball."""
    separation: float
    """Lower bound of the distance between images of points of different labels."""

    @property
    def gap(self) -> float:
        """r^2 - mu_t^2 = (lambda_t - mu_t)^2 - mu_t^2, without rounding of the network."""
        return self.separation * (self.separation - 2 * self.radius)


def ball_sum(task: Task, *, readout: Readout | None = None) -> Memorizer:
    """Construction S with sawtooth squares: l_2, any rho < 1, depth m + 3, all weights O(1).

    m = ceil(log_4(D L^2 / (2 eps (eps - mu)))) - 1 levels (at least 1), eps = lambda / 2, L the side of the cube.

    Raises: UserError if the norm is not l_2; PrecisionError if float64 cannot tell the balls apart.
    """
    require(task, "2", "ball_sum")
    cube = scaled(task)
    D = task.data.dim
    m = levels(D, cube.gap)
    features, eta = sawtooth(D, m, (cube.weight, cube.bias))
    code = encode(task, readout)
    layers, margin = ball_layers(task, cube, code, eta)
    claimed = ball_sum_size(len(code.stored), D, m, code)
    network = ReluNetwork.of([*features, *layers])
    return Memorizer(task, network, code.readout, "ball_sum", {"readout": readout}, claimed, margin)


def scaled(task: Task, domain: tuple[float, float] | None = None) -> Cube:
    """t_k = (x_k - lo_k) / L, with one L so that balls stay balls, and one lo_k for each coordinate.

    [0, 1]^D contains all balls, and the `domain` (low, high) of all coordinates if one is given. L is the largest range
    of a coordinate over all balls, at most Delta + 2 mu with Delta the largest distance between two points, and
    independent of their location. Raises: PrecisionError if float64 cannot scale the coordinates.
    """
    x = task.data.points
    with np.errstate(over="ignore"):  # detected by the side
        lo, hi = x.min(axis=0) - task.radius, x.max(axis=0) + task.radius
        if domain is not None:
            lo, hi = np.minimum(lo, domain[0]), np.maximum(hi, domain[1])
        side = float((hi - lo).max())
        # A little extra room keeps t in [0, 1] after rounding.
        room = 1e-9 * side + 4 * float(np.spacing(np.abs(x).max()))
        w = inverse(side + 2 * room, x)
        bias = exact_with_half(-(lo - room) * w)
    t = w * x + bias
    if not (t.min() - w * task.radius >= 0 and t.max() + w * task.radius <= 1):
        raise _cannot_scale(x)
    error = 2 * U * float((w * np.abs(x).max(axis=0) + np.abs(bias)).max() + 1)
    down, up = 1 - 8 * U, 1 + 8 * U
    weight = w * sparse.eye_array(task.data.dim, format="csr")
    # To the next number, for products below the normal range.
    radius = math.nextafter(w * task.radius * up, math.inf)
    return Cube(weight, bias, t, error, radius, math.nextafter(w * task.separation.lower * down, -math.inf))


def inverse(side: float, points: np.ndarray) -> float:
    """1 / side of a cube around these points. Raises: PrecisionError if either overflows."""
    if not (math.isfinite(side) and side > 0 and math.isfinite(1 / side)):
        raise _cannot_scale(points)
    return 1 / side


def _cannot_scale(x: np.ndarray) -> PrecisionError:
    words = "shift the points towards 0, or scale them to sizes near 1"
    return PrecisionError(f"coordinates from {x.min():g} to {x.max():g}: float64 cannot scale them to a cube; {words}")


def exact_with_half(bias: np.ndarray) -> np.ndarray:
    """b rounded up so that b - 1/2 is exact in float64."""
    grid = 2.0 ** np.maximum(np.ceil(np.log2(np.abs(bias) + 1)) - 51, -51)
    return np.ceil(bias / grid) * grid


def levels(dim: int, gap: float) -> int:
    """Smallest m >= 1 with error dim 4^-(m+1) of the squares at most half the gap.

    Raises: PrecisionError if float64 is too coarse for such squares.
    """
    if not gap > 0:
        raise PrecisionError(f"gap between balls is {gap:g} in the unit cube: float64 rounds it away; shift to 0")
    m = max(1, math.ceil(math.log(2 * dim / gap, 4)) - 1)
    # The logarithm may round to the wrong side of a whole number.
    while dim * 4.0 ** -(m + 1) > gap / 2:
        m += 1
    if m > 25:
        raise PrecisionError(
            f"gap between balls is {gap:g} in the unit cube: squares need {m} levels, float64 holds 25"
        )
    return m


def ball_layers(task: Task, cube: Cube, code: Code, eta: float) -> tuple[list[tuple[Any, np.ndarray]], float]:
    """Ball layer and head on top of the features (t, A), and the margin; `eta` is the error of the squares."""
    centres = cube.points[code.stored]
    error = _rounding(cube, eta)
    reach = (cube.separation - cube.radius) ** 2 * (1 - 8 * U) - error
    low = reach - cube.radius**2 * (1 + 8 * U) - eta - error
    if not low > cube.gap / 8:
        raise PrecisionError(
            f"gap between balls is {cube.gap:g} in the unit cube, rounding costs {error:g} and squares {eta:g}: too "
            "much for float64; take a smaller radius or shift the points towards the origin"
        )
    low *= 1 - 8 * U
    norms = np.array([math.fsum(row) for row in centres**2])
    # On (t, A): -(sum_k t_k - A) + 2 <t, t_i>.
    weight = np.column_stack([2 * centres - 1, np.ones(len(centres))])
    head, margin = code.head(low)
    return [(weight, reach - norms), *head], margin


def _rounding(cube: Cube, eta: float) -> float:
    """Bound of the error of the ball layer's sum due to rounded weights and biases.

    With e the error of a coordinate of t_i, u = 2^-53, t in [0, 1]^m: the weight 2 t_ik - 1 is wrong by at most
    2 e + 2 u, |t_i|^2 by 2 e + 3 u for each coordinate, and the bias is rounded once at size at most m + 1.
    """
    m = len(cube.bias)
    return m * (4 * cube.error + 8 * U) + 4 * U * (m + 1) + 4 * U * eta


def ball_sum_size(n: int, D: int, m: int, code: Code) -> Size:
    """Size of construction S with n stored points and m levels in dimension D."""
    nonzero, total, neurons = code.head_size()
    if m == 1:
        features_total, features_nonzero = 2 * D * (D + 1) + (2 * D + 1) * (D + 1), 4 * D + 3 * D
    else:
        features_total = 11 * D**2 + 12 * D + 3 + (m - 2) * (9 * D**2 + 9 * D + 2)
        features_nonzero = 15 * D + 1 + (m - 2) * (8 * D + 1)
    return Size(
        nonzero=n * (D + 2) + features_nonzero + nonzero,
        total=n * (D + 2) + features_total + total,
        neurons=2 * D + (m - 1) * (3 * D + 1) + D + 1 + n + neurons,
        depth=m + 3 + (code.readout == "label"),
        width=max(3 * D + 1 if m > 1 else 2 * D, n),
    )
