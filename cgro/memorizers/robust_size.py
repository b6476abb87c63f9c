"""How many non-zero parameters a network needs to be robust on the grid family, for its worst labelling: from below
for all networks, from above by a construction.

A classifier that is robust at the points (i/K, 1/2 + offset phi(i)), i in {1..K}^(D-1), has the sign phi(i) at
(i/K, 1/2) if offset is at most the radius, so networks that are robust for every labelling phi realize all labellings
of n = K^(D-1) cells. Two counts exclude this, and errors on a share a < 1/2 of the cells, for small networks:

    labellings    if some network errs on at most a n cells of every labelling, the patterns of all networks and the
                  balls around them cover {-1, 1}^n:  patterns >= 2^n / sum_{i <= a n} C(n, i) >= 2^(n (1 - H(a)))
    networks      W parameters in L layers, in one graph, have at most 2^(L + L W log2(2 e n)) patterns on n points, and
                  there are at most (W (D + W))^W graphs

with the binary entropy H. Hence W >= sqrt((1 - H(a)) n / log2(2 e n)), nearly, for networks of any depth, and
W >= (1 - H(a)) n / (L log2(2 e n)) for L layers. A network that looks up cells of a grid has O(sqrt(n log n))
parameters: the exponent (D - 1)/2 of K is that of the worst labelling.

The second count multiplies the layers' factors 2 (2 e n k_i i / W_i)^(W_i) of Bartlett et al. (JMLR 2019), proof of
Theorem 7 [R], W_i the parameters and k_i the neurons of layers up to i and of layer i, and bounds the product by the
inequality of means with W_i <= W and sum_i i k_i <= L W [D]; it needs W <= n. Li et al. (NeurIPS 2022,
arXiv:2205.13863), Theorem 4.3, embed all graphs in one of O(W^3) parameters and get the exponent (D - 1)/6 [S];
counting the graphs costs a logarithm only [D].
"""

from __future__ import annotations

import math
from fractions import Fraction

from flint import arb

from cgro.base.errors import UserError
from cgro.base.validate import integer


def cells_per_side(eps: float) -> int:
    """K = floor(1 / (2 eps)): the points of the family are 2 eps apart or more.

    Raises: UserError unless 0 < eps <= 1/4, since K = 1 is a single cell.
    """
    if not 0 < eps <= 0.25:
        raise UserError(f"eps must be in (0, 1/4], got {eps:g}: there are at least two cells per side")
    return math.floor(1 / (2 * Fraction(eps).limit_denominator(10**9)))


def pattern_bits(cells: int, parameters: int, dim: int, *, depth: int | None = None) -> arb:
    """Enclosure of an upper bound of log2 of the number of labellings of the cells that networks of that size have.

        L + L W log2(2 e n) + W log2(W (D + W)),   L = depth, or W layers if it is None

    Skip connections are allowed. Needs W <= n; returns n, the number of all labellings, beyond. Raises: UserError for
    sizes that are not positive integers.
    """
    for name, value in (("cells", cells), ("parameters", parameters), ("dim", dim), ("depth", depth or 1)):
        integer(name, value, low=1)
    W, layers = parameters, parameters if depth is None else min(depth, parameters)
    if cells < W:
        return arb(cells)
    return graph_bits(cells, W, layers) + W * _log2(arb(W * (dim + W)))


def graph_bits(cells: int, parameters: int, layers: int) -> arb:
    """L + L W log2(2 e n): the same for networks with one graph, W <= n."""
    return layers + layers * parameters * _log2(2 * arb(1).exp() * cells)


def labelling_bits(cells: int, error: float) -> arb:
    """n (1 - H(a)): log2 of a number of patterns that a share a of errors requires, for every number of cells.

    Raises: UserError for an error outside of [0, 1/2).
    """
    if not 0 <= error < 0.5:
        raise UserError(f"error must be in [0, 1/2), got {error:g}: half of the cells are right by guessing")
    a = arb(error)
    entropy = -(a * _log2(a) + (1 - a) * _log2(1 - a)) if error else arb(0)
    return cells * (1 - entropy)


def robust_size_lower_bound(dim: int, eps: float, *, error: float = 0.1, depth: int | None = None) -> int:
    """Non-zero parameters below which, for some labelling of the grid family in R^D, every network has robust error
    above `error`, at every radius that hides the last coordinate.

    dim: D >= 2; eps: half the separation, K = floor(1/(2 eps)); error: in [0, 1/2), the share of cells whose ball
    contains an error; depth: affine layers, or None for every depth. Weights and biases count alike. A size below the
    bound is excluded with certainty: the comparison is in balls.

    Raises: UserError for values outside of these ranges.
    Reference: Li et al. (NeurIPS 2022, arXiv:2205.13863), Theorem 4.3, and Li & Li (ICML 2025, arXiv:2306.01271),
    Theorem 4.7 [S]; this count and its constants [D] use Bartlett et al. (JMLR 2019) [R].
    """
    cells = _cells(dim, eps)
    needed = labelling_bits(cells, error)
    low, high = 0, 1  # W = 0 is one constant, and is excluded unless a single pattern suffices.
    while pattern_bits(cells, high, dim, depth=depth) < needed and high < cells:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        excluded = middle <= cells and pattern_bits(cells, middle, dim, depth=depth) < needed
        low, high = (middle, high) if excluded else (low, middle)
    return high


def share_lost(dim: int, eps: float, parameters: int, *, depth: int | None = None) -> float:
    """Share of cells on which every network of that size errs, for some labelling: a lower bound of the robust error.

    The largest a with n (1 - H(a)) above `pattern_bits`; 0 where the count excludes nothing. It tends to 1/2 as the
    size falls behind `robust_size_lower_bound`. Raises: UserError as there.
    """
    cells = _cells(dim, eps)
    bits = pattern_bits(cells, parameters, dim, depth=depth)
    low, high = 0.0, 0.5
    if not bits < labelling_bits(cells, low):
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if bits < labelling_bits(cells, middle) else (low, middle)
    return low


def robust_size_upper_bound(dim: int, eps: float) -> int:
    """Parameters, zeros included, with which `grid_cells` is robust for every labelling, at every radius below
    1/(2 K) and offsets small enough.

    It is `lookup_total` for floor(n / 2) stored cells and ceil(log2(K + 1)) bits per coordinate. Derived [D].
    """
    return lookup_total(max(1, _cells(dim, eps) // 2), cells_per_side(eps).bit_length(), dim)


def lookup_total(stored: int, digits: int, dim: int) -> int:
    """Parameters, zeros included, of a network that looks up M cells of a grid in R^D, from above.

        (3 D + 2)(q (3 D + 1) + 3) + 19 + 49 ceil(M / x) + 110 x (Q + 2)

    q bits per coordinate, Q = q D bits per index, groups of x = sqrt(49 M / (110 (Q + 2))) cells, rounded down: layers
    of `cells.Plan` are at most 10 wide after the first q.
    """
    bits, group = digits * dim, group_size(stored, digits * dim)
    groups = -(-stored // group)
    return (3 * dim + 2) * (digits * (3 * dim + 1) + 3) + 19 + 49 * groups + 110 * group * (bits + 2)


def group_size(stored: int, bits: int) -> int:
    """sqrt(49 M / (110 (Q + 2))), rounded down but at least 1, for M stored cells with indices of Q bits."""
    return max(1, math.isqrt(49 * stored // (110 * (bits + 2))))


def _cells(dim: int, eps: float) -> int:
    integer("dim", dim, low=2)
    cells: int = cells_per_side(eps) ** (dim - 1)
    return cells


def _log2(value: arb) -> arb:
    return value.log() / arb(2).log()
