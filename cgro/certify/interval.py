"""Interval bounds: every neuron's range from the ranges of the layer before, for all points at once.

First layer, by Hoelder's inequality with the dual norm q of p, exact:   W x0 + b  -+  radius |W_row|_q
Later layers, for h = c + e with |e| <= r:                               W c + b  -+  |W| r

Rounding goes outward (cgro.certify.rounding): the radius r is widened by gamma (|c| + r), which covers the rounding of
W c, since |W| gamma |c| bounds it; the sum of the widened radii is then enlarged by its own rounding error. So the
bounds hold for the network in real arithmetic whose weights are exactly the float64 numbers.

Reference: Gowal et al., "On the effectiveness of interval bound propagation", 2018, section 3 [R].
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from cgro.base.norms import DUAL, Norm, require_norm
from cgro.certify.arguments import checked_points, checked_radius
from cgro.certify.problem import Problem
from cgro.certify.rounding import TINY, down, gamma, outward, row_norms, terms, up
from cgro.networks.relu import Matrix, ReluNetwork

Bounds = tuple[Float[np.ndarray, "N m"], Float[np.ndarray, "N m"]]
"""Lower and upper bounds of each neuron for each point."""


def interval_bounds(network: ReluNetwork, points: Float[np.ndarray, "N D"], norm: Norm, radius: float) -> list[Bounds]:
    """Bounds of W h + b in each layer, first layer first, over each closed ball B_p(x_i, radius).

    Holds (N, neurons) numbers for all layers: pass points in chunks where that is too many.

    Returns: (lower, upper), each (N, outputs of the layer), for each layer, the last one too.

    Raises: UserError for points that are not finite or do not fit the network, an unknown norm, and a radius that is
        negative or not finite.
    """
    norm, radius, points = require_norm(norm), checked_radius(radius), checked_points(points, network.inputs)
    bounds: list[Bounds] = []
    for weight, bias in network.layers:
        bounds.append(affine(weight, bias, relu(bounds[-1])) if bounds else ball(weight, bias, points, norm, radius))
    return bounds


def margin_interval(problem: Problem) -> Bounds:
    """Bounds (N, R) of every row of the margin, in chunks of points."""
    parts = [_margin_of(problem.take(chunk)) for chunk in problem.chunks()]
    return _joined(parts, problem.offsets.shape)


def _margin_of(problem: Problem) -> Bounds:
    if problem.network.depth == 1:
        return margin_from(problem, None)
    hidden = ReluNetwork(problem.network.weights[:-1], problem.network.biases[:-1])
    return margin_from(problem, interval_bounds(hidden, problem.points, problem.norm, problem.radius)[-1])


def margin_from(problem: Problem, last: Bounds | None) -> Bounds:
    """Bounds (N, R) of the margin's rows from bounds of the last hidden layer; None where there is no hidden layer."""
    joint = problem.last_layer()
    grow = gamma(2 * joint.weight.shape[2] + 16)
    with np.errstate(over="ignore", invalid="ignore"):
        if last is None:
            centre, radius = problem.points, np.zeros_like(problem.points)
            reach = problem.radius * row_norms(joint.weight, DUAL[problem.norm])
        else:
            centre, radius = _centre(relu(last))
            reach = np.zeros_like(joint.offset)
        wide = radius + grow * (np.abs(centre) + radius) + TINY
        size = (np.abs(joint.weight) @ wide[..., None])[..., 0] + reach
        if joint.error is not None:
            far = np.abs(centre) + radius + problem.radius
            size += (joint.error @ far[..., None])[..., 0] * (1 + grow)
        size += grow * (np.abs(joint.offset) + reach) + joint.offset_error
        return _around((joint.weight @ centre[..., None])[..., 0] + joint.offset, size, grow, joint.weight.shape[2])


def ball(weight: Matrix, bias: np.ndarray, points: np.ndarray, norm: Norm, radius: float) -> Bounds:
    """Bounds of W x + b on the balls."""
    grow = gamma(2 * terms(weight) + 16)
    with np.errstate(over="ignore", invalid="ignore"):
        reach = (radius * row_norms(weight, DUAL[norm]))[:, None]
        size = abs(weight) @ (grow * np.abs(points.T) + TINY) + grow * np.abs(bias)[:, None] + reach * (1 + grow)
        lower, upper = _around(weight @ points.T + bias[:, None], size, grow, terms(weight))
    return np.ascontiguousarray(lower.T), np.ascontiguousarray(upper.T)


def affine(weight: Matrix, bias: np.ndarray, inputs: Bounds) -> Bounds:
    """Bounds of W h + b from bounds of h."""
    grow = gamma(2 * terms(weight) + 16)
    with np.errstate(over="ignore", invalid="ignore"):
        centre, radius = _centre((inputs[0].T, inputs[1].T))
        wide = radius + grow * (np.abs(centre) + radius) + TINY
        size = abs(weight) @ wide + grow * np.abs(bias)[:, None]
        lower, upper = _around(weight @ centre + bias[:, None], size, grow, terms(weight))
    return np.ascontiguousarray(lower.T), np.ascontiguousarray(upper.T)


def relu(bounds: Bounds) -> Bounds:
    """Bounds of relu(z)."""
    return np.maximum(bounds[0], 0), np.maximum(bounds[1], 0)


def _centre(bounds: Bounds) -> Bounds:
    lower, upper = bounds
    centre = lower / 2 + upper / 2
    return centre, up(np.maximum(upper - centre, centre - lower))


def _around(centre: np.ndarray, size: np.ndarray, grow: float, count: int) -> Bounds:
    size = size * (1 + 2 * grow) + (2 * count + 8) * TINY
    return outward(down(centre - size), up(centre + size))


def _joined(parts: list[Bounds], shape: tuple[int, ...]) -> Bounds:
    if not parts:
        return np.empty(shape), np.empty(shape)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
