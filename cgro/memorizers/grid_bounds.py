"""The grid family of the lower bound for robust classifiers: counting bounds, and networks for tiny or regular cases.

A robust classifier of the points (i / K, 1/2 + offset phi(i)), i in {1..K}^(D-1), realizes the labels phi of K^(D-1)
cells. Networks that can do so for every phi, or for every phi up to a share of errors, have a large VC
dimension, hence many parameters. One labelling may still be cheap: parity takes O(D K) parameters.

Letters: D dimensions, K cells per side, c cells in all, L affine layers, W parameters.
Reference: Li et al. (NeurIPS 2022, arXiv:2205.13863), Theorem 4.3 [S]; VC dimension by Bartlett et al.
(JMLR 2019), Theorem 7 [R].
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int
from scipy import sparse
from scipy.optimize import brentq

from cgro.base.errors import UserError
from cgro.data.patches import require_sizes
from cgro.networks.relu import ReluNetwork


def vc_bound_by_parameters(parameters: int, depth: int) -> float:
    """Largest VC dimension of ReLU networks with one graph of W parameters and L layers, from above.

        L + L W log2(4 e R log2(2 e R)),   R = L W

    This is the maximum of `bounds.vc_bound`: Lbar <= L, and R = sum_i i k_i <= L W, since every neuron has a bias.
    Raises: UserError for sizes that are not positive integers. Reference: Bartlett et al. (JMLR 2019), Theorem 7 [R].
    """
    require_sizes(parameters=parameters, depth=depth)
    R = depth * parameters
    return depth + R * math.log2(4 * math.e * R * math.log2(2 * math.e * R))


def parameters_for_all_labellings(cells: float, depth: int) -> int:
    """Smallest W for which the VC bound permits a graph of L layers to realize every labelling of the cells.

    It is not a bound for networks whose zero weights may move with the labelling, since their graph is not fixed.
    Raises: UserError for a depth that is not a positive integer.
    """
    low, high = 0, 1
    while vc_bound_by_parameters(high, depth) < cells:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if vc_bound_by_parameters(middle, depth) < cells else (low, middle)
    return high


def shattered_share(error: float = 0.1) -> float:
    """Share s of c cells that classifiers shatter if, for every labelling, one of them errs on a share `error` at most.

    On some half of the cells, V = c / 2 of them, they have many patterns, and Sauer's lemma applies to that half:

        patterns >= (2 (1 - 2 error))^V   and   patterns <= sum_{i <= s c} C(V, i) <= 2^(V H(2 s)),

    so H(2 s) = log2(2 (1 - 2 error)) with the binary entropy H. 0.0895 at error 0.1, for every number of cells. The
    weaker (e V / d)^d in place of Sauer's sum gives 0.0846; published is 0.05.

    error: in [0, 1/4). Raises: UserError for others.
    Reference: the count of patterns by Li et al. (NeurIPS 2022, arXiv:2205.13863),
    proof of Theorem 4.3 [S]; the second bound is Sauer's lemma, its constant derived here [D].
    """
    if not 0 <= error < 0.25:
        raise UserError(f"error must be in [0, 1/4), got {error:g}: the count of labellings holds there only")
    bits = math.log2(2 * (1 - 2 * error))
    return float(brentq(lambda s: -s * math.log2(s) - (1 - s) * math.log2(1 - s) - bits, 1e-12, 0.5)) / 2


def parity_network(cells_per_side: int, dim: int, ratio: float) -> ReluNetwork:
    """(-1)^(i_1 + ... + i_(D-1)) on the l_inf balls of radius ratio / (2 K), with O(D K) parameters; four layers.

        q(x_k) = sum_j relu((x_k - a_j) / w) - relu((x_k - b_j) / w) = i_k - 1,   j = 1..K-1
        a_j = (j + ratio / 2) / K,   b_j = (j + 1 - ratio / 2) / K,   w = b_j - a_j = (1 - ratio) / K
        s = sum_k q(x_k),   f = first (1 - 2 relu(s) + 4 relu(s - 1) - 4 relu(s - 2) + ...) = first (-1)^s

    9 M + 1 non-zero parameters or fewer, M = (D - 1)(K - 1). `first` = (-1)^(D-1) is the parity of the first cell.
    Raises: UserError for bad sizes, D < 2, K < 2 and a ratio outside of (0, 1). Derived here [D].
    """
    require_sizes(least={"cells_per_side": 2, "dim": 2}, cells_per_side=cells_per_side, dim=dim)
    if not 0 < ratio < 1:
        raise UserError(f"ratio must be between 0 and 1, got {ratio:g}: balls meet at 1")
    K, steps = cells_per_side, np.arange(1, cells_per_side)
    width = (1 - ratio) / K
    breaks = np.concatenate([steps + ratio / 2, steps + 1 - ratio / 2]) / K
    M = (dim - 1) * (K - 1)
    column = np.repeat(np.arange(dim - 1), len(breaks))
    ramps = sparse.csr_array((np.full(2 * M, 1 / width), (np.arange(2 * M), column)), shape=(2 * M, dim))
    signs = np.tile(np.repeat([1.0, -1.0], K - 1), dim - 1)
    wave = np.concatenate([[-2.0], 4.0 * (-1.0) ** np.arange(M - 1)])
    first = float((-1) ** (dim - 1))
    return ReluNetwork.of(
        [
            (ramps, -np.tile(breaks, dim - 1) / width),
            (signs[None], np.zeros(1)),
            (np.ones((M, 1)), -np.arange(M, dtype=float)),
            (first * wave[None], np.array([first])),
        ]
    )


def parity(cells_per_side: int, dim: int) -> Int[np.ndarray, " cells"]:
    """(-1)^(i_1 + ... + i_(D-1)), i in {1..K}^(D-1), the last index running fastest."""
    index = np.indices((cells_per_side,) * (dim - 1)).reshape(dim - 1, -1) + 1
    return 1 - 2 * (index.sum(axis=0) % 2)


def square_neurons(labels: Int[np.ndarray, " 4"], ratio: float) -> int:
    """Neurons that a two-layer network provably needs for four cells in a square (D = 3, K = 2); more may be needed.

    Every ball meets the plane x_3 = 1/2 in a full square around its cell, so the network is judged there. Labels in the
    order of (1,1), (1,2), (2,1), (2,2).

        all equal                        0
        one pair of neighbours           1
        one corner                       1 if ratio < 1/2, else 2: one neuron decides by a line, and the convex hull of
                                         the three balls touches the corner's ball from ratio 1/2 on
        diagonal                         2 if ratio < 1/2: the diagonals cross, no line parts them; else 3: no two
                                         neurons are right at the corners of the balls, over all real weights (z3)

    All are exact at ratio 1/2 and 9/10, where three neurons are right on the balls of a diagonal, and below 1/2 by a
    function of x_1 + x_2 (`cgro/claims/exhaustive.py`). Raises: UserError unless labels are four of -1 and +1. Derived
    here [D].
    """
    y = np.asarray(labels)
    if y.shape != (4,) or not np.isin(y, (-1, 1)).all():
        raise UserError(f"labelling must be 4 values of -1 and +1, one for each cell, got shape {y.shape}")
    total = abs(int(y.sum()))
    if total == 4:
        return 0
    if total == 2:
        return 1 if ratio < 0.5 else 2
    return (2 if ratio < 0.5 else 3) if y[0] == y[3] else 1
