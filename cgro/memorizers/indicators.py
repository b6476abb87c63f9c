"""Soft indicators of balls: s_i = 1 on B_p(x_i, delta) and 0 outside of B_p(x_i, delta + gamma), exactly.

    s(v) = relu(1 + b - w v) - relu(b - w v),   w delta <= b,   1 + b <= w (delta + gamma)

for a function v_i of x that is the distance to x_i, or its square, or an upper bound of it. b is rounded so that 1 + b
is exact: then s is 1 and 0 exactly, for the real function of the float64 weights.
Source: Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5 [S] for the function; the networks are ours [D].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import sparse

from cgro.memorizers.ball_sum import scaled
from cgro.memorizers.hinges import boxes, share
from cgro.memorizers.task import Task, U
from cgro.networks.gadgets import maximum_step, sawtooth
from cgro.networks.relu import PrecisionError

Parts = Literal["shared", "own"]
"""shared: balls share hinges (l_inf) and the square of the norm (l_2). own: each ball computes its own distance."""


@dataclass(frozen=True, eq=False)
class Indicators:
    """Hidden layers, and the indicators as sums of the last one's neurons."""

    layers: list[tuple[Any, np.ndarray]]
    values: Any
    """(N, neurons): s_i = values[i] . relu(last layer)."""


def indicators(task: Task, shell: float, parts: Parts, domain: tuple[float, float] | None) -> Indicators:
    """Indicators of all N balls; `shell` is gamma, at most the gap between balls of different labels.

    Each costs, in non-zero weights and biases: l_inf own 10 D + 2 (tree of maxima, D a power of two), shared 6 D + 2 or
    fewer; l_1 8 D + 4; l_2 own 23 D + 6 + (m-2)(8 D + 1) with m >= 2 levels of squares, shared 2 (D + 2).

    `domain` (low, high) of coordinates: outside of it, shared indicators may be wrong far from all balls.

    Raises: PrecisionError if float64 cannot tell the balls apart.
    """
    if task.norm == "inf" and parts == "shared":
        return _hinges(task, shell, domain)
    if task.norm == "2" and parts == "shared":
        return _shared_squares(task, shell, domain)
    return _own_squares(task, shell) if task.norm == "2" else _own_distances(task, shell)


def _hinges(task: Task, shell: float, domain: tuple[float, float] | None) -> Indicators:
    """s_i = relu(1 - g_i / gamma) with the hinges g_i of `hinge_sum`, at least |x - x_i|_inf - delta."""
    n = task.data.size
    low, high, gap = boxes(task, np.arange(n))
    # Rounding reduces the shell by as much as the gap.
    width = shell - (task.gap - gap) * (1 + 1e-9)
    if not width > shell / 2:
        raise PrecisionError(f"shell is {shell:g}: float64 rounds it away at these coordinates; widen the shell")
    first, bias, second = share(low, high, domain)
    second.data *= math.nextafter(1 / width, math.inf)
    return Indicators([(first, bias), (second, np.ones(n))], sparse.eye_array(n, format="csr"))


def _own_distances(task: Task, shell: float) -> Indicators:
    """|x_k - x_ik| by two neurons; their sum in l_1, their maximum by a tree in l_inf."""
    x = task.data.points
    n, D = x.shape
    eye = sparse.eye_array(D)
    first = sparse.kron(np.ones((n, 1)), sparse.vstack([eye, -eye]), format="csr")
    layers = [(first, np.concatenate([-x, x], axis=1).ravel())]
    values = sparse.kron(sparse.eye_array(n), sparse.hstack([eye, eye]), format="csr")
    if task.norm == "1":
        values = sparse.csr_array(sparse.kron(sparse.eye_array(n), np.ones((1, D))) @ values)
    else:
        length = D
        while length > 1:
            weight, values, length = maximum_step(values, length)
            layers.append((weight, np.zeros(weight.shape[0])))
    layer, out = _soft(values, np.zeros(n), task.radius, task.radius + shell, 0.0)
    return Indicators([*layers, layer], out)


def _own_squares(task: Task, shell: float) -> Indicators:
    """Squares of t = |x_k - x_ik| / (delta + gamma): beyond 1 they only need to stay above 1."""
    x = task.data.points
    n, D = x.shape
    scale = (1 - 1e-12) / (task.radius + shell)
    inner = (task.radius * scale) ** 2 * (1 + 8 * U)
    outer = ((task.radius + shell) * scale) ** 2 * (1 - 8 * U)
    levels = _levels(D, inner, outer, shell)
    eye = sparse.eye_array(n * D)
    layers = [(sparse.kron(sparse.eye_array(n * D), [[1.0], [-1.0]], format="csr") @ _tile(n, D), _signed(x))]
    absolute = sparse.kron(eye, [[scale, scale]], format="csr")
    squares, tau = sawtooth(n * D, levels, (absolute, np.zeros(n * D)), groups=n)
    weight, bias = squares[-1]
    total = sparse.hstack([sparse.kron(sparse.eye_array(n), np.ones((1, D))), -sparse.eye_array(n)], format="csr")
    # The last layer of squares is affine here: v = sum_k t_k - A needs no neurons of its own.
    layer, out = _soft(sparse.csr_array(total @ weight), total @ bias, inner + tau, outer, 4 * D * U)
    return Indicators([*layers, *squares[:-1], layer], out)


def _tile(n: int, D: int) -> Any:
    return sparse.kron(np.ones((n, 1)), sparse.eye_array(D), format="csr")


def _signed(x: np.ndarray) -> np.ndarray:
    """-x_ik, x_ik in turn."""
    return np.stack([-x, x], axis=-1).ravel()


def _shared_squares(task: Task, shell: float, domain: tuple[float, float] | None) -> Indicators:
    """v_i = q(t) - 2 <t, t_i> + |t_i|^2 with the shared square q of construction S."""
    cube = scaled(task, domain)
    n, D = task.data.points.shape
    w = float(cube.weight.data[0])
    inner = cube.radius**2 * (1 + 8 * U)
    outer = (w * (task.radius + shell)) ** 2 * (1 - 8 * U)
    levels = _levels(D, inner, outer, shell)
    features, eta = sawtooth(D, levels, (cube.weight, cube.bias))
    t = cube.points
    rows = sparse.csr_array(np.column_stack([1 - 2 * t, -np.ones(n)]))
    norms = np.array([math.fsum(row) for row in t**2])
    error = D * (4 * cube.error + 8 * U) + 4 * U * (D + 1)
    layer, out = _soft(rows, norms, inner + eta, outer, error)
    return Indicators([*features, layer], out)


def _levels(dim: int, inner: float, outer: float, shell: float) -> int:
    """Levels of squares whose error is at most half of what the shell leaves, outer - inner.

    Raises: PrecisionError for more than float64 holds.
    """
    room = outer - inner
    if not room > 2 * dim * 4.0**-26:
        raise PrecisionError(f"shell is {shell:g}: squares need more than the 25 levels that float64 holds; widen it")
    return max(1, math.ceil(math.log(2 * dim / room, 4)) - 1)


def _soft(rows: Any, offsets: np.ndarray, inner: float, outer: float, error: float) -> tuple[Any, Any]:
    """Layer of two neurons for each v_i = rows[i] h + offsets[i]: s_i is 1 for v_i <= inner and 0 for v_i >= outer.

    `error` bounds the rounding of rows and offsets in v_i.
    """
    inner, outer = inner + error, outer - error
    # Without any room the slope does not matter: it is refused below.
    slope = (1 + 2.0**-20) / max(outer - inner, 1e-300)
    bias = slope * (inner - offsets)
    grid = 2.0 ** (np.ceil(np.log2(np.abs(bias) + 2)) - 51)
    bias = np.ceil(bias / grid) * grid + grid
    if not (outer > inner and (1 + bias + 4 * grid <= slope * (outer - offsets)).all()):
        raise PrecisionError(
            f"shell of a ball from {inner:g} to {outer:g} (in the network's units) is lost to rounding: widen the "
            "shell or shift the points towards the origin"
        )
    n = len(bias)
    weight = sparse.vstack([-slope * rows, -slope * rows], format="csr")
    eye = sparse.eye_array(n)
    return (weight, np.concatenate([1 + bias, bias])), sparse.hstack([eye, -eye], format="csr")
