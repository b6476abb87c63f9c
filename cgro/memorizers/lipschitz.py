"""The l_inf memorizer with the smallest Lipschitz constant: one minus a multiple of the distance to a class."""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from cgro.memorizers.hinges import require, require_precision
from cgro.memorizers.task import Memorizer, Task, encode
from cgro.networks.gadgets import maximum_step, minimum_step
from cgro.networks.relu import ReluNetwork, Size


def lipschitz(task: Task) -> Memorizer:
    """l_inf, two labels, any rho < 1: f = +-(1 - (2/lambda) min_i |x - x_i|_inf) over the n points of one label.

    |f| >= 1 - rho on all balls, and the l_inf Lipschitz constant 2/lambda is the smallest that any function with
    f(x_i) = y_i can have. Maxima and minima are binary trees,

        max(a, b) = relu(a - b) + b  (b >= 0),    min(a, b) = a - relu(a - b)

    so all weights but the last layer's are 1 or -1. Depth ceil(log2 D) + ceil(log2 n) + 2, O(N D) non-zero. [D]

    Raises: UserError if the norm is not l_inf or the labels are not -1 and +1; PrecisionError if float64 cannot
        tell the balls apart.
    """
    require(task, "inf", "lipschitz")
    code = encode(task, "sign")
    centres = task.data.points[code.stored]
    n, D = centres.shape
    eye = sparse.eye_array(D)
    first = sparse.kron(np.ones((n, 1)), sparse.vstack([eye, -eye]), format="csr")
    layers = [(first, np.concatenate([-centres, centres], axis=1).ravel())]
    # |x_k - x_ik| = relu(x_k - x_ik) + relu(x_ik - x_k), centre by centre.
    values = sparse.kron(sparse.eye_array(n), sparse.hstack([eye, eye]), format="csr")
    length = D
    while length > 1:
        weight, values, length = maximum_step(values, length)
        layers.append((weight, np.zeros(weight.shape[0])))
    length = n
    while length > 1:
        weight, values, length = minimum_step(values, length)
        layers.append((weight, np.zeros(weight.shape[0])))
    slope = 2 / task.separation.distance
    low = 1 - slope * task.radius * (1 + 1e-15)
    high = slope * (task.separation.lower - task.radius) * (1 - 1e-15) - 1
    margin = math.nextafter(min(low, high), -math.inf)
    require_precision(margin, task)
    sign = -float(code.base)
    layers.append((-sign * slope * values, np.array([sign])))
    claimed = _size(n, D)
    return Memorizer(task, ReluNetwork.of(layers), "sign", "lipschitz", {}, claimed, margin)


def _size(n: int, D: int) -> Size:
    """By recursion over the trees: a value is the sum of 2 neurons, or of 1 where it had no partner."""
    nonzero, widths = 4 * D * n, [2 * D * n]
    terms = [2] * D
    while len(terms) > 1:
        pairs = list(zip(terms[0::2], terms[1::2], strict=False))
        left = terms[2 * len(pairs) :]
        nonzero += n * (sum(a + 2 * b for a, b in pairs) + sum(left))
        terms = [2] * len(pairs) + [1] * len(left)
        widths.append(n * sum(terms))
    terms = terms * n
    while len(terms) > 1:
        pairs = list(zip(terms[0::2], terms[1::2], strict=False))
        left = terms[2 * len(pairs) :]
        nonzero += sum(2 * a + b for a, b in pairs) + sum(left)
        terms = [2] * len(pairs) + [1] * len(left)
        widths.append(sum(terms))
    nonzero += terms[0] + 1
    inputs = [D, *widths]
    total = sum((a + 1) * b for a, b in zip(inputs, [*widths, 1], strict=True))
    return Size(nonzero, total, sum(widths), len(widths) + 1, max(widths))
