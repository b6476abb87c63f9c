"""Small ReLU networks and layers that constructions are made of: |t|, max, min, squares, soft indicator, gate.

Each function states its identity; where it is not exact, its error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from cgro.experiment import UserError
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
    values, length, layers = sparse.eye_array(count, format="csr"), count, []
    while length > 1:
        weight, values, length = maximum_step(values, length)
        layers.append((weight, np.zeros(weight.shape[0])))
    return ReluNetwork.of([*layers, (values, np.zeros(1))])


def square(levels: int) -> ReluNetwork:
    """t -> f_m(t) on [0, 1], with 0 <= f_m(t) - t^2 <= 4^-(m+1), m = levels >= 1.

        g_0 = t,   g_s = 2 relu(g_{s-1}) - 4 relu(g_{s-1} - 1/2),   f_m(t) = t - sum_{s=1..m} g_s / 4^s

    Depth m + 1, width 4. Source: Yarotsky, "Error bounds for approximations with deep ReLU networks", 2017.

    Raises: UserError for levels < 1 or beyond 25, where float64 holds no smaller error.
    """
    if not 1 <= levels <= 25:
        raise UserError(f"levels is {levels}: allowed are 1 to 25; the error 4^-(levels+1) is below rounding beyond")
    layers, _ = sawtooth(1, levels)
    weight, bias = layers[-1]
    # t - A, from the bottleneck (t, A).
    return ReluNetwork.of([*layers[:-1], (weight, bias), (np.array([[1.0, -1.0]]), np.zeros(1))])


def sawtooth(
    dim: int, levels: int, first: tuple[Any, np.ndarray] | None = None
) -> tuple[list[tuple[Any, np.ndarray]], float]:
    """Layers from x to (t_1, ..., t_D, A), A = sum_k sum_{s<=m} g_s(t_k) / 4^s, and the error D 4^-(m+1) of
    sum_k t_k - A as an upper bound of sum_k t_k^2 on [0, 1]^D.

    `first` is (weight, bias) of t = weight x + bias, default t = x. Widths 2 D, then 3 D + 1 for each further level,
    then the bottleneck D + 1. The weights 2, 4, 4^-s and 1/2 are exact in float64.
    """
    weight, bias = first if first is not None else (sparse.eye_array(dim, format="csr"), np.zeros(dim))
    eye = sparse.eye_array(dim)
    layers = [(sparse.vstack([weight, weight], format="csr"), np.concatenate([bias, bias - 0.5]))]
    tooth = sparse.hstack([2 * eye, -4 * eye])
    row = np.concatenate([np.full(dim, 2.0), np.full(dim, -4.0)])[None, :]
    for s in range(2, levels + 1):
        t = sparse.hstack([eye, sparse.csr_array((dim, dim))]) if s == 2 else _columns(dim, 2 * dim, 3 * dim + 1)
        A = sparse.csr_array(row / 4.0 ** (s - 1))
        if s > 2:
            tooth = sparse.hstack([2 * eye, -4 * eye, sparse.csr_array((dim, dim + 1))])
            A = sparse.hstack([A, sparse.csr_array((1, dim)), sparse.csr_array([[1.0]])])
        layers.append(
            (
                sparse.vstack([tooth, tooth, t, A], format="csr"),
                np.concatenate([np.zeros(dim), np.full(dim, -0.5), np.zeros(dim + 1)]),
            )
        )
    A = sparse.csr_array(row / 4.0**levels)
    if levels == 1:
        t = sparse.hstack([eye, sparse.csr_array((dim, dim))])
    else:
        t = _columns(dim, 2 * dim, 3 * dim + 1)
        A = sparse.hstack([A, sparse.csr_array((1, dim)), sparse.csr_array([[1.0]])])
    layers.append((sparse.vstack([t, A], format="csr"), np.zeros(dim + 1)))
    return layers, dim * 4.0 ** -(levels + 1)


def _columns(dim: int, start: int, width: int) -> Any:
    """Identity on `dim` columns of `width`."""
    return sparse.csr_array((np.ones(dim), (np.arange(dim), start + np.arange(dim))), shape=(dim, width))
