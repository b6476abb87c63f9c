"""A cheap falsifier: points of the ball where the margin is small, found by conditional gradient steps.

    z <- (1 - a) z + a (x + radius e(-grad margin(z))),   e(g) = argmax over |u|_p <= 1 of <g, u>

with a falling from 1 to 1 / steps. The iterates are convex combinations of points of the ball, so one formula
serves l_1, l_2 and l_inf without projections. Points found count only after an exact check (`verified`).

Reference: Frank & Wolfe, "An algorithm for quadratic programming", 1956 [R]; steps that fall like those of PGD [D].
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from cgro.base.arrays import real_array
from cgro.base.errors import UserError
from cgro.base.validate import integer
from cgro.certify.ball import extreme, inside, uniform
from cgro.certify.exact import exact_margin, rounded_up
from cgro.certify.interval import margin_interval
from cgro.certify.problem import Problem

_EXACT = 10**6
"""Largest number of weights times layers for an exact evaluation, which takes about a second."""


def search(
    problem: Problem,
    rng: np.random.Generator,
    suspects: Float[np.ndarray, "N D"],
    *,
    steps: int = 20,
    restarts: int = 4,
) -> Float[np.ndarray, "N D"]:
    """Points near the centres with small margins: the best that steps lead to from the suspects, from the centres, and
    from random points of the ball, each of these only for points whose margin is still positive.

    Raises: UserError for suspects of another shape than the centres, fewer steps than 1, and fewer restarts than 0.
    """
    suspects = _checked(suspects, problem)
    integer("steps", steps, low=1)
    integer("restarts", restarts, low=0)
    best, least = problem.points.copy(), np.full(len(problem), np.inf)
    shape = problem.points.shape
    starts = [suspects, problem.points]
    starts += [problem.points + problem.radius * uniform(rng, shape, problem.norm) for _ in range(restarts)]
    for start in starts:
        alive = np.flatnonzero(least > 0)
        for chunk in problem.take(alive).chunks():
            which = alive[chunk]
            part, z = problem.take(which), start[which]
            for step in range(steps + 1):
                value, gradient = margin_and_gradient(part, z)
                better = value < least[which]
                least[which[better]], best[which[better]] = value[better], z[better]
                rate = 1 - step / steps
                z = z + rate * (part.points + part.radius * extreme(-gradient, part.norm) - z)
    return best


def verified(
    problem: Problem, suspects: Float[np.ndarray, "N D"]
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, " N"]]:
    """The suspects moved into the ball, exactly, and proved upper bounds of the margin there, rounding included.

    Where rounding hides the sign and the network is not too large, the bound is the exact margin, rounded up.

    Raises: UserError for suspects of another shape than the centres.
    """
    suspects = _checked(suspects, problem)
    points = problem.points.copy()
    for i, z in enumerate(suspects):
        points[i] = inside(problem.points[i], z, problem.norm, problem.radius)
    low, high = (b.min(axis=1) for b in margin_interval(replace(problem, points=points, radius=0.0)))
    network = problem.network
    if network.size.nonzero * network.depth <= _EXACT:
        for i in np.flatnonzero((low <= 0) & (high > 0)).tolist():
            high[i] = rounded_up(exact_margin(network, points[i], problem.rows[i], problem.offsets[i]))
    return points, high


def _checked(suspects: Float[np.ndarray, "N D"], problem: Problem) -> Float[np.ndarray, "N D"]:
    suspects = real_array("suspects", suspects)
    if suspects.shape != problem.points.shape:
        raise UserError(f"suspects must have shape {problem.points.shape}, one for each centre, got {suspects.shape}")
    return suspects


def margin_and_gradient(
    problem: Problem, z: Float[np.ndarray, "N D"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, "N D"]]:
    """The margin at z and its gradient there, in plain float64."""
    network = problem.network
    h, masks = z.T, []
    with np.errstate(over="ignore", invalid="ignore"):
        for weight, bias in network.layers[:-1]:
            h = weight @ h + bias[:, None]
            masks.append(h > 0)
            h = np.where(masks[-1], h, 0)
        weight, bias = network.layers[-1]
        margins = np.einsum("nro,on->nr", problem.rows, weight @ h + bias[:, None]) + problem.offsets
        worst = margins.argmin(axis=1)
        each = np.arange(len(problem))
        back = weight.T @ problem.rows[each, worst].T
        for (weight, _), mask in zip(reversed(network.layers[:-1]), reversed(masks), strict=True):
            back = weight.T @ np.where(mask, back, 0)
    value = margins[each, worst]
    return np.where(np.isnan(value), np.inf, value), np.nan_to_num(back.T)
