"""Linear bounds (CROWN): a row of a layer is bounded from below by a linear function of the input, going backward.

Each ReLU h = relu(z) with l <= z <= u lies between two lines,

    a z <= h <= s z + t:   s = a = 1, t = 0 if l >= 0;   s = a = t = 0 if u <= 0;   else s = u / (u - l), t = -s l

with any a in [0, 1]: "adaptive" takes 1 if u > -l, else 0; "parallel" takes a = s. With L h_k + delta as the bound so
far, a neuron takes its lower line where its coefficient in L is positive, its upper line elsewhere, so

    L h_k + delta >= M z_k + <min(L, 0), t> + delta = (M W_k) h_{k-1} + ...,   M = max(L, 0) a + min(L, 0) s

and at the input min over the ball of <L, x> = <L, x0> - radius |L|_q. Neurons' bounds come from the same procedure,
layer by layer, for the unstable neurons only; they are intersected with interval bounds, so no bound is looser.

Rounding. The chain of inequalities must hold for L, M, s and t as computed in float64:
t is raised until the line passes above relu at both ends, which suffices by convexity. The differences |fl(M) - M| <=
u |M| and |fl(M W) - M W| <= gamma |M| |W| multiply neurons that lie in known ranges, |z| <= v and |h| <= H, and
|M| (|W| H + |b|) <= |L| v with v := max(|W| H + |b|, |l|, |u|, t). The sums for M b and min(L, 0) t err by at most
gamma |L| v as well. So one number for each step, gamma <|L|, v>, covers its whole rounding error, and is subtracted.

Reference: Zhang, Weng, Chen, Hsieh, Daniel, "Efficient neural network robustness certification with general
activation functions", NeurIPS 2018, section 3.3 [R]; "parallel" is Fast-Lin (Weng et al., ICML 2018) [R].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from cgro.base.norms import DUAL
from cgro.base.validate import one_of
from cgro.certify.ball import extreme
from cgro.certify.interval import Bounds, affine, interval_bounds, margin_from, relu
from cgro.certify.problem import Problem
from cgro.certify.rounding import TINY, UNIT, down, gamma, row_norms, up
from cgro.networks.relu import ReluNetwork

Relaxation = Literal["adaptive", "parallel"]
BOTH: tuple[Relaxation, ...] = ("adaptive", "parallel")
_PAIRS = 2**22
"""Coefficients of one block of rows going backward."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """Quantities for a backward step through relu(W h + b), for each point and neuron."""

    slope: Float[np.ndarray, "N m"]
    """s of the upper line."""
    intercept: Float[np.ndarray, "N m"]
    """t of the upper line."""
    lower_slopes: dict[str, Float[np.ndarray, "N m"]]
    """a of the lower line, by name of the relaxation."""
    size: Float[np.ndarray, "N m"]
    """v >= every magnitude that takes part."""
    reach: Float[np.ndarray, "N m"]
    """H >= |h| after the ReLU."""
    floor: Float[np.ndarray, " N"]
    """Error bound for products that underflow."""


@dataclass(frozen=True, eq=False)
class LinearBounds:
    """Bounds of the margin over the balls, with the bounds they are derived from."""

    lower: Float[np.ndarray, "N R"]
    """Proved lower bounds of the margin's rows."""
    hidden: list[Bounds]
    """Bounds of the hidden layers' pre-activations."""
    minimizer: Float[np.ndarray, "N D"]
    """Where the linear bound of the worst row is smallest on the ball: a suspect."""


def linear_bounds(problem: Problem, relaxations: tuple[Relaxation, ...] = BOTH) -> LinearBounds:
    """Linear bounds of the margin and of all neurons; never looser than interval bounds.

    Holds (N, neurons) numbers a few times: pass problems in chunks (`Problem.chunks`) where that is too many.

    Raises: UserError for an unknown relaxation.
    """
    for relaxation in relaxations:
        one_of("relaxation", relaxation, BOTH)
    network, points = problem.network, problem.points
    intervals = interval_bounds(network, points, problem.norm, problem.radius)[:-1]
    hidden: list[Bounds] = []
    layers: list[_Layer] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for k, plain in enumerate(intervals):
            bounds = plain
            if k:
                bounds = _intersect(plain, affine(network.weights[k], network.biases[k], relu(hidden[-1])))
                bounds = _tightened(problem, layers, k, bounds, relaxations)
            hidden.append(bounds)
            reach = layers[-1].reach if layers else np.abs(points) + problem.radius
            layers.append(_layer(network, k, bounds, reach, relaxations))
        lower, minimizer = _margin(problem, layers, relaxations)
    # Interval bounds of the margin: plain ones, so that nothing is looser, and those from the tightened last layer.
    for last in (intervals, hidden):
        lower = np.fmax(lower, margin_from(problem, last[-1] if last else None)[0])
    return LinearBounds(lower, hidden, minimizer)


def _margin(
    problem: Problem, layers: list[_Layer], relaxations: tuple[Relaxation, ...]
) -> tuple[np.ndarray, np.ndarray]:
    joint = problem.last_layer()
    count, rows, width = joint.weight.shape
    lower = np.full((count, rows), -np.inf)
    ends = np.zeros((count, rows, problem.network.inputs))
    reach = layers[-1].reach if layers else np.abs(problem.points) + problem.radius
    error = 2 * joint.offset_error + UNIT * np.abs(joint.offset)
    if joint.error is not None:
        error += (joint.error @ reach[..., None])[..., 0] * (1 + gamma(2 * width + 8))
    block = max(1, _PAIRS // max(width, problem.network.inputs, *problem.network.widths, 1))
    flat = np.arange(count * rows)
    for start in range(0, len(flat), block):
        part = flat[start : start + block]
        owner, row = part // rows, part % rows
        for name in relaxations:
            value, end = _backward(
                problem, layers, name, owner, joint.weight[owner, row], joint.offset[owner, row], error[owner, row]
            )
            better = value > lower[owner, row]
            lower[owner[better], row[better]] = value[better]
            ends[owner[better], row[better]] = end[better]
    worst = lower.argmin(axis=1)
    each = np.arange(count)
    step = extreme(-ends[each, worst], problem.norm)
    return lower, problem.points + problem.radius * step


def _tightened(
    problem: Problem, layers: list[_Layer], k: int, bounds: Bounds, relaxations: tuple[Relaxation, ...]
) -> Bounds:
    """Bounds of layer k, tightened for the neurons that these leave unstable."""
    lower, upper = bounds[0].copy(), bounds[1].copy()
    owners, neurons = np.nonzero((lower < 0) & (upper > 0))
    weight, bias = problem.network.layers[k]
    block = max(1, _PAIRS // max(problem.network.inputs, *problem.network.widths))
    for start in range(0, len(owners), block):
        owner, neuron = owners[start : start + block], neurons[start : start + block]
        rows = weight[neuron]
        rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
        zero = np.zeros(len(owner))
        for name in relaxations:
            low, _ = _backward(problem, layers, name, owner, rows, bias[neuron], zero)
            high, _ = _backward(problem, layers, name, owner, -rows, -bias[neuron], zero)
            lower[owner, neuron] = np.fmax(lower[owner, neuron], low)
            upper[owner, neuron] = np.fmin(upper[owner, neuron], -high)
    return lower, upper


def _backward(
    problem: Problem,
    layers: list[_Layer],
    relaxation: str,
    owner: Int[np.ndarray, " P"],
    rows: Float[np.ndarray, "P m"],
    offset: Float[np.ndarray, " P"],
    error: Float[np.ndarray, " P"],
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P D"]]:
    """Proved lower bounds of <rows, h> + offset - error for h after the last of `layers`, on the balls of `owner`.

    Returns: the bounds, -inf where float64 has no answer, and the coefficients of the input.
    """
    for k in range(len(layers) - 1, -1, -1):
        layer = layers[k]
        weight, bias = problem.network.layers[k]
        magnitude = (np.abs(rows) * layer.size[owner]).sum(axis=1)
        negative = np.minimum(rows, 0)
        added = (negative * layer.intercept[owner]).sum(axis=1)
        rows = np.maximum(rows, 0) * layer.lower_slopes[relaxation][owner] + negative * layer.slope[owner]
        grow = 4 * gamma(weight.shape[0] + weight.shape[1] + 16)
        error = error + grow * magnitude + 8 * UNIT * np.abs(offset) + layer.floor[owner]
        offset = offset + (added + rows @ bias)
        rows = np.asarray(rows @ weight)
    grow = 4 * gamma(rows.shape[1] + 16)
    centre = problem.points[owner]
    error = error + grow * (np.abs(rows) * np.abs(centre)).sum(axis=1) + 8 * UNIT * np.abs(offset)
    error = error + (4 * len(centre[0]) + 8) * TINY
    reach = problem.radius * row_norms(rows, DUAL[problem.norm])
    # 1 + 1e-6 covers the rounding of the error terms themselves, a few units for each layer.
    middle = (rows * centre).sum(axis=1) + offset
    value = down(down(middle) - (reach * (1 + 8 * UNIT) + error * (1 + 1e-6)))
    return np.where(np.isfinite(middle) & np.isfinite(value), value, -np.inf), rows


def _layer(
    network: ReluNetwork,
    k: int,
    bounds: Bounds,
    inputs: Float[np.ndarray, "N n"],
    relaxations: tuple[Relaxation, ...],
) -> _Layer:
    """The lines of layer k, and the magnitudes behind its rounding errors."""
    lower, upper = bounds
    weight, bias = network.layers[k]
    unstable = (lower < 0) & (upper > 0)
    width = np.where(unstable, upper - lower, 1)
    slope = np.where(unstable, np.clip(upper / width, 0, 1), (lower >= 0).astype(float))
    # The line passes above (l, 0) and above (u, u).
    left, right = up(slope * -lower), up(upper - down(slope * upper))
    intercept = np.where(unstable, np.maximum(np.maximum(left, right), 0), 0)
    slopes: dict[str, np.ndarray] = {
        name: np.where(unstable, slope if name == "parallel" else (upper > -lower).astype(float), slope)
        for name in relaxations
    }
    size = (abs(weight) @ inputs.T).T * (1 + gamma(2 * weight.shape[1] + 8)) + np.abs(bias)
    size = np.maximum.reduce([size, np.abs(lower), np.abs(upper), intercept]) * (1 + 8 * UNIT)
    floor = 4 * sum(weight.shape) * TINY * (size.sum(axis=1) + inputs.sum(axis=1) + 2)
    return _Layer(slope, intercept, slopes, size, np.maximum(upper, 0), floor)


def _intersect(a: Bounds, b: Bounds) -> Bounds:
    return np.fmax(a[0], b[0]), np.fmin(a[1], b[1])
