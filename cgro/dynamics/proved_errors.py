"""Bounds on the test errors of a cubic patch network that are proved, not sampled [D].

A fresh sample has margin h + y Z, h the signal's part and Z = sum_{j<P} sum_r g_jr^3 with independent g_j ~ N(0, C),
C = sigma^2 K (see `fresh_sample`). Z is symmetric about 0, so for h >= 0

    error = P[h + y Z <= 0] = P[|Z| >= h] / 2.

From above, by Markov's inequality for Z^2 and Z^4: error <= min(E Z^2 / h^2, E Z^4 / h^4) / 2. From below, by
anti-concentration, with the better of two bounds on P[|Z| < h]:

    Polya              along a unit direction e, Z is a cubic polynomial of one standard normal with leading coefficient
                       l = sigma^3 sum_r <w_r, e>^3, whatever the rest. A cubic stays below h in absolute value on a set
                       of length at most L = 4 (h / (2 |l|))^(1/3), of normal measure at most erf(L / sqrt 8).
    Paley & Zygmund    P[|Z| > h] >= (1 - h^2 / E Z^2)^2 (E Z^2)^2 / E Z^4.

All numbers are balls. References: Polya, 1928 (Sitzungsber. Preuss. Akad. Wiss.); Paley & Zygmund, 1932.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from flint import arb, arb_mat

from cgro.base.errors import UserError
from cgro.dynamics.rigorous import BallEngine, Ends, upper, worst_signal_margin
from cgro.dynamics.setting import PatchSetting


def require_cubic(setting: PatchSetting) -> None:
    """Refuse a setting whose moments of Z are not known here. Raises: UserError."""
    if setting.exponent != 3:
        raise UserError(f"exponent must be 3 for bounds on test errors, got {setting.exponent:g}")


@dataclass(frozen=True)
class ProvedErrors:
    """Enclosures of Var Z and E Z^4, and bounds on the test errors."""

    variance: arb
    fourth_moment: arb
    clean_at_most: float
    robust_at_least: float
    robust_at_most: float


def proved_errors(engine: BallEngine) -> ProvedErrors:
    """Bounds on the test errors of the engine's current network, clean and in the worst case inside A.

    The activation must be cubic, see `require_cubic`.
    """
    setting, U = engine.setting, engine.state.signal
    require_cubic(setting)
    C = engine.filter_gram() * (arb(setting.noise) ** 2)
    variance, fourth = moments(C, setting.patches - 1)
    clean = arb(setting.signal) ** 3 * U
    robust = worst_signal_margin(setting, U)
    leading = leading_coefficient(C)
    low, high = error_ends(robust, leading, variance, fourth)
    return ProvedErrors(variance, fourth, error_ends(clean, leading, variance, fourth)[1], low, high)


def error_ends(h: arb, leading: arb, variance: arb, fourth: arb) -> Ends:
    """An interval that contains P[h + y Z <= 0]; Z is symmetric and continuous, so at -h it is 1 minus that at h."""
    if h < 0:
        low, high = error_ends(-h, leading, variance, fourth)
        return max(0.0, float(np.nextafter(1 - high, 0))), min(1.0, float(np.nextafter(1 - low, 2)))
    if not h >= 0:
        return 0.0, 1.0
    return _at_least(h, leading, variance, fourth), _at_most(h, variance, fourth)


def moments(C: arb_mat, noise_patches: int) -> tuple[arb, arb]:
    """E Z^2 and E Z^4 of Z = sum over patches and filters of g^3, g ~ N(0, C) [D].

    One patch gives Z_1 = H + L with H = sum_r (g_r^3 - 3 c_rr g_r) in the third Wiener chaos and L = 3 sum_r c_rr g_r.
    With t_r = Cov(g_r, L), v = Var L, c^k taken entry by entry, and pairings counted as multigraphs,

        E Z_1^2 = 6 sum c^3 + v
        E H^4   = 108 (sum c^3)^2 + 1944 tr(c^2 c c^2 c) + 1296 sum_ab c_ab sum_de c_ad c_bd c_de c_ae c_be
        E H^3 L = 324 sum_abd t_a c_ab c_ad c_bd^2
        E H^2 L^2 = 6 v sum c^3 + 36 sum_ab t_a t_b c_ab^2,   E H L^3 = 6 sum t^3,   E L^4 = 3 v^2
    """
    m = C.nrows()
    c = C.tolist()
    diagonal = [c[r][r] for r in range(m)]
    t = [3 * _dot(row, diagonal) for row in c]
    v = 3 * _dot(diagonal, t)
    square = arb_mat([[x * x for x in row] for row in c])
    cubes = sum((x * x * x for row in c for x in row), arb(0))
    second = 6 * cubes + v
    product = square * C
    full = arb(0)
    for a in range(m):
        for b in range(m):
            both = [x * y for x, y in zip(c[a], c[b], strict=True)]
            full += c[a][b] * _dot(both, (C * arb_mat(m, 1, both)).entries())
    by_pair = (C * square).tolist()
    h4 = 108 * cubes**2 + 1944 * (product * product).trace() + 1296 * full
    h3l = 324 * sum((t[a] * c[a][b] * by_pair[a][b] for a in range(m) for b in range(m)), arb(0))
    h2l2 = 6 * v * cubes + 36 * sum((t[a] * t[b] * c[a][b] ** 2 for a in range(m) for b in range(m)), arb(0))
    hl3 = 6 * sum((x**3 for x in t), arb(0))
    fourth = h4 + 4 * h3l + 6 * h2l2 + 4 * hl3 + 3 * v**2
    n = noise_patches
    return n * second, n * fourth + 3 * n * (n - 1) * second**2


def leading_coefficient(C: arb_mat) -> arb:
    """|sum_r <w_r, e>^3| sigma^3 along a direction e in which it is large: a lower bound on the largest.

    Power iteration in floating point finds the direction, as a combination b of the filters; what it yields there is
    computed in balls: <w_r, e> = (C b)_r / sqrt(b^T C b).
    """
    m = C.nrows()
    c = np.array([float(x) for x in C.entries()]).reshape(m, m)
    combinations = np.eye(m)  # a start in each column
    for _ in range(200):
        combinations = (c @ combinations) ** 2
        combinations /= combinations.max(0)
    response = c @ combinations
    reached = (response**3).sum(0) / (combinations * response).sum(0) ** 1.5
    best = combinations[:, reached.argmax()]
    direction = arb_mat(m, 1, best.tolist())
    response = (C * direction).entries()
    length = _dot(direction.entries(), response).sqrt()
    return abs(sum((x**3 for x in response), arb(0))) / length**3


def _dot(x: list[arb], y: list[arb]) -> arb:
    return sum((a * b for a, b in zip(x, y, strict=True)), arb(0))


def _at_most(h: arb, variance: arb, fourth: arb) -> float:
    """Upper bound on P[h + y Z <= 0] for h >= 0."""
    bounds = [upper(x) for x in (variance / h**2 / 2, fourth / h**4 / 2)]
    return min([0.5, *(x for x in bounds if np.isfinite(x))])


def _at_least(h: arb, leading: arb, variance: arb, fourth: arb) -> float:
    """Lower bound on P[h + y Z <= 0] for h >= 0."""
    length = 4 * (h / (2 * leading)).root(3)
    near = (length / arb(8).sqrt()).erf()
    rest = 1 - h**2 / variance
    far = rest**2 * variance**2 / fourth if rest > 0 else arb(0)
    bounds = [-upper(-(1 - near) / 2), -upper(-far / 2)]
    return min(0.5, max([0.0, *(x for x in bounds if np.isfinite(x))]))
