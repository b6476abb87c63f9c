"""Bounds of the number of parameters of a robust memorizer: lower bounds, and published upper bounds.

Lower bounds hold for the worst data set of N points in R^D: some data set needs that many. Upper bounds without a
stated constant are given as scalings, so only their shapes can be compared.
"""

from __future__ import annotations

import math
from itertools import pairwise

from cgro.base.errors import UserError
from cgro.base.norms import EXPONENT, Norm
from cgro.base.validate import integer


def first_layer_width(samples: int, dim: int, ratio: float, norm: Norm) -> int:
    """Neurons that the first layer needs for the points {e_1, ..., e_D, 0} (and 2 e_1, ... if N > D + 1).

        l_p, p >= 2:  ceil(rho^2 min(N - 1, D)),   l_p, p < 2:  ceil(rho^2 min(N - 1, D) / D^(2/p - 1)),
        l_inf:  min(N - 1, D) for rho > 1/2

    Reference: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.2, C.6 and C.7 [S].

    Raises: UserError unless 0 < ratio < 1.
    """
    _require_ratio(ratio)
    dims = min(samples - 1, dim)
    if norm == "inf" and ratio > 0.5:
        return dims
    p = EXPONENT[norm]
    shrink = dim ** (2 / p - 1) if p < 2 else 1.0
    # Less a rounding error, so that the bound is never overstated.
    return max(1, math.ceil(ratio**2 * dims / shrink - 1e-9))


def lower_bound_total(samples: int, dim: int, ratio: float, norm: Norm) -> int:
    """Total parameters that some data set needs: (D + 1) for each neuron of the first layer.

    Kim, Moon & Yun, Theorem 3.1 adds Omega(sqrt(N min(1/(1-rho^2), D))): `memorizer_size_lower_bound`.
    """
    return (dim + 1) * first_layer_width(samples, dim, ratio, norm)


def shattered_points(samples: int, dim: int, ratio: float, norm: Norm = "2") -> int:
    """Number of points that robust memorizers of every N points of R^D shatter, a lower bound of their VC dimension.

        l_2:  floor(N/2) (1 + min(D, floor(1/(1-rho^2)))),   l_1:  floor(N/2) min(D, floor(1/(1-rho))),
        l_inf:  one for each pair of points

    Networks that are robust at a ratio are so at every smaller one; hence the minimum with D, without which the number
    is false: half-spaces memorize any two points at every ratio and shatter D + 1 points. In l_2 a pair of prototypes
    shatters a regular simplex.

    Raises: UserError unless 0 < ratio < 1 and samples and dim are positive.
    Reference: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.3 and C.8 [S]; the minimum, and the simplex [D].
    """
    integer("samples", samples, low=1)
    integer("dim", dim, low=1)
    _require_ratio(ratio)
    # Plus a rounding error: at the edges 1 - 1/k of rho^p k points are shattered.
    centre = min(dim, math.floor(1 / (1 - ratio ** EXPONENT[norm]) + 1e-9))
    return (samples // 2) * (centre + (norm == "2"))


def memorizer_size_lower_bound(samples: int, dim: int, ratio: float) -> int:
    """Parameters, zeros included, of a dense architecture that memorizes every N points of R^D robustly in l_2.

        max((D + 1) ceil(rho^2 min(N - 1, D)), ceil(sqrt(n / log2(4 e n)))),   n = max(N, shattered_points)

    The second part counts patterns: n <= L + L W log2(2 e n) <= W^2 log2(4 e n) for W parameters in L <= W layers that
    shatter n points (`robust_size.graph_bits`). This is Theorem 3.1 of Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643
    [S], with constants derived here [D].
    Raises: UserError as `shattered_points`.
    """
    points = max(samples, shattered_points(samples, dim, ratio))
    # In integers, for any number of points; the logarithm is rounded up, so that the bound is never overstated.
    bits = math.ceil((2 + math.log2(math.e) + math.log2(points)) * 10**9) + 1
    square = points * 10**9 // bits
    root = math.isqrt(square)
    return max(lower_bound_total(samples, dim, ratio, "2"), root + (root**2 < square))


def published_scaling_total(samples: int, dim: int, ratio: float) -> float:
    """rho^4 N d^2 + rho^2 d D + D, d = min(N, D): the published order of all parameters in l_2, without constant and
    logarithms.

    It is N D^2 rho^4 + D, for rho >= 1/(5 sqrt D), after the projection on the span of the points, which is an isometry
    and whose part in the first layer costs rho^2 d D.

    Reference: Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Theorem 4.2 (iii) and Prop. B.21 [S]; combined here
    [D].
    """
    _require_ratio(ratio)
    span = min(samples, dim)
    return ratio**4 * samples * span**2 + ratio**2 * span * dim + dim


def shared_square_scaling_total(samples: int, dim: int, ratio: float) -> float:
    """D + N + rho^2 N D, the scaling of construction S after projection, without its constant and logarithms [D]."""
    _require_ratio(ratio)
    return dim + samples + ratio**2 * samples * dim


def _require_ratio(ratio: float) -> None:
    if not 0 < ratio < 1:
        raise UserError(f"ratio must be between 0 and 1, got {ratio:g}: it is 2 radius / separation")


def vc_bound(sizes: tuple[int, ...]) -> float:
    """Largest VC dimension of ReLU networks with `sizes` = (inputs, hidden widths..., 1), from above.

        L + Lbar W log2(4 e R log2(2 e R)),   R = sum_i i k_i,   Lbar = sum_i W_i / W

    with L layers, W parameters in all, W_i in the first i layers, and k_i neurons in layer i. Reference: Bartlett,
    Harvey, Liaw & Mehrabian, JMLR 2019, Theorem 7 [R].
    """
    parts = [(a + 1) * b for a, b in pairwise(sizes)]
    layers = len(parts)
    partial = sum(sum(parts[: i + 1]) for i in range(layers))
    R = sum((i + 1) * k for i, k in enumerate(sizes[1:]))
    inside = 4 * math.e * R * math.log2(2 * math.e * R)
    return layers + partial * math.log2(inside)


def neurons_for_all_labellings(cells: int, dim: int) -> int:
    """Fewest neurons for which the VC bound permits two-layer networks to realize every labelling of that many points.

    A robust classifier of the grid family must realize its labelling, so this many neurons are needed for some
    labelling. With K^(D-1) cells that is exponential in D.
    Reference: Li et al., NeurIPS 2022, arXiv:2205.13863, section 4 [S],
    with the VC bound of Bartlett et al. [R].
    """
    neurons = 1
    while vc_bound((dim, neurons, 1)) < cells:
        neurons = max(neurons + 1, int(neurons * 1.01))
    # The last step may have been too long.
    while neurons > 1 and vc_bound((dim, neurons - 1, 1)) >= cells:
        neurons -= 1
    return neurons
