"""The l_inf memorizer of depth 2 n + 1 and width 3 D + 1, which stores one point after another.

Source: Yu, Gao & Zhang, "Optimal Robust Memorization with ReLU Neural Networks", ICLR 2024 [N for the statement];
the layers are ours and match its depth and width exactly [D].
"""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from cgro.memorizers.hinges import boxes, require, require_precision
from cgro.memorizers.task import Memorizer, Task, encode
from cgro.networks.readout import Readout
from cgro.networks.relu import PrecisionError, ReluNetwork, Size


def sequential(task: Task, *, readout: Readout | None = None) -> Memorizer:
    """l_inf, any rho < 1: the state z becomes max(z, y_i (1 - g_i / gamma)), one stored point after the other.

        odd layer:   relu(x_k - x_ik - mu), relu(x_ik - x_k - mu), x_k, z = z + u        width 3 D + 1
        even layer:  u = relu(y_i - (y_i / gamma) g_i - z), z, x_k                       width D + 2

    with y_i >= 1 the label less the smallest one (labels 0, 1 and an output shifted by 1/2 for the sign read-out)
    and x shifted to be non-negative. On the ball of a stored point z = y_i; balls of other labels change nothing, so
    the output is the label exactly, and the margin 1/2. Largest weight y_max / gamma.

        total 3 D (D+1) + (D+2)(3 D+1) + (n-1)(3 D+1)(D+3) + (n-2)(D+2)(3 D+2) + 2 (3 D+2) + 3,   n >= 2

    Raises: UserError if the norm is not l_inf; PrecisionError if float64 cannot tell the balls apart.
    """
    require(task, "inf", "sequential")
    code = encode(task, readout)
    values = code.bits @ code.values
    offset = float(code.base)
    if code.readout == "sign":
        values, offset = np.full(len(code.stored), -float(code.base)), code.base / 2
    low, high, gap = boxes(task, code.stored)
    n, D = low.shape
    # On every ball x - floor >= 0.
    floor = math.floor(task.data.points.min() - task.radius) - 1.0
    largest = float(np.abs(task.data.points).max()) + task.radius + abs(floor)
    gap = math.nextafter(gap - 4 * float(np.spacing(largest)), -math.inf)
    require_precision(gap, task)
    shifted_low, shifted_high = np.nextafter(low - floor, -np.inf), np.nextafter(high - floor, np.inf)
    slopes = np.nextafter(np.abs(values) / gap, np.inf)
    if not np.isfinite(slopes).all():
        raise PrecisionError(f"gap between balls is {gap:g}: float64 carries no 1/gap; scale the points up")
    eye, one = sparse.eye_array(D), sparse.csr_array([[1.0]])
    hinges = sparse.vstack([eye, -eye])
    layers = []
    for i in range(n):
        first, last = i == 0, i == n - 1
        if first:
            odd = sparse.vstack([hinges, eye])
            bias = [-high[i], low[i], np.full(D, -floor)]
        else:
            # Inputs: u, z, x_k.
            odd = sparse.block_array([[None, hinges], [None, eye], [sparse.csr_array([[1.0, 1.0]]), None]])
            bias = [-shifted_high[i], shifted_low[i], np.zeros(D + 1)]
        y = abs(values[i])
        # Inputs: hinges, x_k, z; outputs: u, z, x_k.
        g = sparse.csr_array(np.full((1, 2 * D), -slopes[i]))
        z_to_u = sparse.csr_array((2, 0)) if first else sparse.csr_array([[-1.0], [1.0]])
        top = sparse.hstack([sparse.vstack([g, sparse.csr_array((1, 2 * D))]), sparse.csr_array((2, D)), z_to_u])
        carried = sparse.csr_array((D, 0 if first else 1))
        below = sparse.hstack([sparse.csr_array((D, 2 * D)), eye, carried])
        even = top if last else sparse.vstack([top, below])
        layers.append((odd.tocsr(), np.concatenate(bias)))
        layers.append((even.tocsr(), np.concatenate([[y], np.zeros(1 if last else D + 1)])))
    sign = 1.0 if code.readout == "label" else -float(code.base)
    layers.append((sign * sparse.hstack([one, one], format="csr"), np.array([offset])))
    claimed = Size(
        nonzero=_nonzero(n, D) + (offset != 0),
        total=_total(n, D),
        neurons=2 * D * n + D * n + (n - 1) + 2 * n + D * (n - 1),
        depth=2 * n + 1,
        width=3 * D + (n > 1),
    )
    return Memorizer(task, ReluNetwork.of(layers), code.readout, "sequential", {"readout": readout}, claimed, 0.5)


def _total(n: int, D: int) -> int:
    if n == 1:
        return 3 * D * (D + 1) + 2 * (3 * D + 1) + 3
    middle = (n - 1) * (3 * D + 1) * (D + 3) + (n - 2) * (D + 2) * (3 * D + 2)
    return 3 * D * (D + 1) + (D + 2) * (3 * D + 1) + middle + 2 * (3 * D + 2) + 3


def _nonzero(n: int, D: int) -> int:
    """About n (8 D + 5): less in the first layers, which carry no z, and in the last, which carry no x."""
    if n == 1:
        return (8 * D + 1) + 2 - (D - D)
    return (9 * D + 1) + (n - 2) * (8 * D + 5) + (7 * D + 5) + 2
