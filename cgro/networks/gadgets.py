"""Small ReLU networks and layers used in constructions: |t|, max, min, squares, soft indicator, gate.

Each function states its identity, and its error if it is not exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from cgro.base.errors import UserError
from cgro.networks.relu import ReluNetwork

# Trees over groups of equally many values. `values` (groups * length, neurons) says which sum of the neurons of the
# layer before each value is; a step returns the weight of the next layer, the values in terms of its neurons, and
# how many values each group has left.


def maximum_step(values: sparse.csr_array, length: int) -> tuple[sparse.csr_array, sparse.csr_array, int]:
    """Pairs become their maximum, max(a, b) = relu(a - b) + relu(b) for b >= 0: exact."""
    return _tree_step(values, length, difference_first=True)


def minimum_step(values: sparse.csr_array, length: int) -> tuple[sparse.csr_array, sparse.csr_array, int]:
    """Pairs become their minimum, min(a, b) = relu(a) - relu(a - b) for a >= 0: exact."""
    return _tree_step(values, length, difference_first=False)


def _tree_step(values: Any, length: int, difference_first: bool) -> tuple[Any, Any, int]:
    groups, pairs, odd = values.shape[0] // length, length // 2, length % 2
    # Within a group: (a - b, b) for each pair, or (a, a - b); the value that has no partner is carried.
    pair = np.array([[1.0, -1.0], [0.0, 1.0]]) if difference_first else np.array([[1.0, 0.0], [1.0, -1.0]])
    join = np.array([[1.0, 1.0]]) if difference_first else np.array([[1.0, -1.0]])
    parts = [sparse.kron(sparse.eye_array(pairs), pair)] + [sparse.csr_array([[1.0]])] * odd
    joins = [sparse.kron(sparse.eye_array(pairs), join)] + [sparse.csr_array([[1.0]])] * odd
    step = sparse.kron(sparse.eye_array(groups), sparse.block_diag(parts), format="csr")
    after = sparse.kron(sparse.eye_array(groups), sparse.block_diag(joins), format="csr")
    return sparse.csr_array(step @ values), sparse.csr_array(after), pairs + odd


def absolute_value(dim: int = 1) -> ReluNetwork:
    """x -> (|x_1|, ..., |x_dim|) by |t| = relu(t) + relu(-t): exact."""
    eye = sparse.eye_array(dim, format="csr")
    return ReluNetwork(
        (sparse.vstack([eye, -eye], format="csr"), sparse.hstack([eye, eye], format="csr")),
        (np.zeros(2 * dim), np.zeros(dim)),
    )


def maximum(count: int) -> ReluNetwork:
    """x -> max(x_1, ..., x_count) for x >= 0, a binary tree of depth ceil(log2 count): exact."""
    return _tree(count, maximum_step)


def minimum(count: int) -> ReluNetwork:
    """x -> min(x_1, ..., x_count) for x >= 0, a binary tree of depth ceil(log2 count): exact."""
    return _tree(count, minimum_step)


def _tree(count: int, step: Callable[[Any, int], tuple[Any, Any, int]]) -> ReluNetwork:
    values, length, layers = sparse.eye_array(count, format="csr"), count, []
    while length > 1:
        weight, values, length = step(values, length)
        layers.append((weight, np.zeros(weight.shape[0])))
    return ReluNetwork.of([*layers, (values, np.zeros(1))])


def square(levels: int) -> ReluNetwork:
    """t -> f_m(t) on [0, 1], with 0 <= f_m(t) - t^2 <= 4^-(m+1), m = levels >= 1.

        g_0 = t,   g_s = 2 relu(g_{s-1}) - 4 relu(g_{s-1} - 1/2),   f_m(t) = t - sum_{s=1..m} g_s / 4^s

    Depth m + 1, width 4. Source: Yarotsky, "Error bounds for approximations with deep ReLU networks", 2017.

    Raises: UserError for levels < 1 or beyond 25, where float64 holds no smaller error.
    """
    if not 1 <= levels <= 25:
        raise UserError(f"levels must be 1 to 25, got {levels}; the error 4^-(levels+1) is below rounding beyond")
    layers, _ = sawtooth(1, levels)
    weight, bias = layers[-1]
    # t - A, from the bottleneck (t, A).
    return ReluNetwork.of([*layers[:-1], (weight, bias), (np.array([[1.0, -1.0]]), np.zeros(1))])


def sawtooth(
    dim: int, levels: int, first: tuple[Any, np.ndarray] | None = None, groups: int = 1
) -> tuple[list[tuple[Any, np.ndarray]], float]:
    """Layers from x to (t_1, ..., t_dim, A_1, ..., A_groups), A = sum_k sum_{s<=m} g_s(t_k) / 4^s over a group.

    A group has d = dim / groups coordinates. Also returns the error d 4^-(m+1) of sum_k t_k - A as an upper bound of
    sum_k t_k^2 on [0, 1]^d.

    `first` is (weight, bias) of t = weight x + bias, default t = x. Widths 2 dim, then 3 dim + groups for each further
    level, then dim + groups. The weights 2, 4, 4^-s and 1/2 are exact in float64. A coordinate t < 0 counts as 0, and
    a group with some t > 1 gets sum_k t_k - A > 1.
    """
    weight, bias = first if first is not None else (sparse.eye_array(dim, format="csr"), np.zeros(dim))
    layers = [(sparse.vstack([weight, weight], format="csr"), np.concatenate([bias, bias - 0.5]))]
    for s in range(1, levels):
        bias = np.concatenate([np.zeros(dim), np.full(dim, -0.5), np.zeros(dim + groups)])
        layers.append((_level(dim, groups, s, 2), bias))
    layers.append((_level(dim, groups, levels, 0), np.zeros(dim + groups)))
    return layers, dim // groups * 4.0 ** -(levels + 1)


def _level(dim: int, groups: int, s: int, copies: int) -> sparse.csr_array:
    """The weight of a level: rows g_s, so many times, then t and A, from the neurons g_{s-1}, g_{s-1} - 1/2, t and A.

    Level 1 has neurons t and t - 1/2 only.
    """
    k, fraction = np.arange(dim), 4.0**-s
    size, carried = dim // groups, int(s > 1)
    g = np.column_stack([k, dim + k])
    members = k.reshape(groups, size)
    sums = np.hstack([members, dim + members, 3 * dim + np.arange(groups * carried).reshape(groups, carried)])
    values = np.repeat([2 * fraction, -4 * fraction, 1.0], [size, size, carried])
    columns = [*[g.ravel()] * copies, 2 * dim * carried + k, sums.ravel()]
    data = np.concatenate([np.tile([2.0, -4.0], dim * copies), np.ones(dim), np.tile(values, groups)])
    entries = np.repeat([2, 1, 2 * size + carried], [dim * copies, dim, groups])
    inputs = 2 * dim + (dim + groups) * carried
    indptr = np.concatenate([[0], np.cumsum(entries)])
    return sparse.csr_array((data, np.concatenate(columns), indptr), shape=(len(entries), inputs))
