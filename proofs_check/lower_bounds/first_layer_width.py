"""The least first layer for the points e_1, ..., e_t and 0, t = min(N-1, D) (K5): ceil(rho^2 t) neurons in l_2 if t
is a power of two, one in l_1, and t in l_inf for rho > 1/2. For other t ceil(rho^2 t) is a lower bound, not shown to be
attained here.

The pairs (e_j, 0) have distance 1 in every norm, so their balls stay apart after the first layer W if and only if
dist_p(e_j, Null W) >= rho for all j (K3; K3 for other norms: halves of the shortest vector of the coset).

    l_2     sum_j P_jj <= m (`null-space-distance`), so m >= rho^2 t. m rows of a Hadamard matrix have P_jj = m / t for
            all j: exactly ceil(rho^2 t) rows are needed at t = 2, 4, 8, ...
    l_1     the row (1, ..., 1): every u with W u = W e_j = 1 has |u|_1 >= 1. One row suffices for every rho < 1.
    l_inf   m < t rows have z != 0 in their null space, and e_j - z / 2 has size 1/2 if |z|_inf = z_j = 1 (C.7,
            `null-space-linf`). t rows suffice. For t = 2 the row (1, 1) attains 1/2.

The three distances are decided: in l_2 by the steps of `null-space-distance`, for all W, and by frames that are
computed in rational arithmetic; in l_1 by z3, coordinate by coordinate; in l_inf by the collision of
`width-below-dimension`, for all kernels, and once more for random matrices. The least number of rows follows from them,
and is compared with the library's. In l_inf for rho <= 1/2 the library's bound rho^2 t is Prop. C.6, and loose: one row
attains 1 / t at most. Networks need no more rows for these pairs; deeper layers may ask for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np
import z3
from flint import fmpq_mat

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.memorizers.bounds import first_layer_width

from .null_space_distance import hadamard_rows, is_projection, projection, square_bound, trace_steps
from .width_below_dimension import collide

Law = Callable[[int, int, float, Norm], int]
Case = tuple[Norm, int, float, int]
"""Norm, t, rho, and the least number of rows."""


def least_rows(largest: int) -> Iterator[Case]:
    """Cases whose least number of rows follows from what is decided; 0 where that leaves it open."""
    for t in (2**e for e in range(1, 8) if 2**e <= largest):
        kept = frame_distances(t)
        for m in range(1, t):
            edge = math.sqrt(m / t)
            yield from (("2", t, rho, least_by_frames(kept, rho)) for rho in (edge * (1 - 1e-6), edge * (1 + 1e-6)))
    one, all_t = int(ones_keep_apart()), int(fewer_rows_collide())
    for t in range(2, largest + 1):
        yield from (("1", t, rho, one) for rho in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99))
        yield from (("inf", t, rho, t * all_t) for rho in (0.501, 0.6, 0.7, 0.8, 0.9, 0.99))
    yield from (("inf", 2, rho, int(sum_keeps_half())) for rho in (0.5, 0.49))


def frame_distances(t: int) -> list[Fraction]:
    """min_j P_jj of m = 1, ..., t rows of a Hadamard matrix, exactly: the squared distance of e_j to the null space."""
    kept = []
    for m in range(1, t + 1):
        P = projection(hadamard_rows(m, t, t))
        least = min(Fraction(int(P[j, j].p), int(P[j, j].q)) for j in range(t))
        kept.append(least if is_projection(P, m) else Fraction(0))
    return kept


def least_by_frames(kept: Sequence[Fraction], ratio: float) -> int:
    """The fewest rows whose frame keeps rho, if one row fewer cannot for any W: `null-space-distance`."""
    t, square = len(kept), Fraction(ratio) ** 2
    m = next((m for m in range(1, t + 1) if kept[m - 1] >= square), t)
    return m if kept[m - 1] >= square > square_bound(m - 1, t) and trace_steps() else 0


def ones_keep_apart() -> bool:
    """With the row (1, ..., 1), W u = W e_j = 1 has |u|_1 >= |u_1 + ... + u_t| = 1, coordinate by coordinate."""
    total, size, u, length = z3.Reals("total size u |u|")
    given = (total <= size, -total <= size, u <= length, -u <= length)
    step = prove(z3.And(total + u <= size + length, -total - u <= size + length), *given)
    return step.holds is True and prove(size >= 1, total <= size, total == 1).holds is True


def fewer_rows_collide() -> bool:
    """In l_inf fewer than t rows fail from rho = 1/2 on, for every kernel; t rows, the identity, keep e_j at 1."""
    return collide(Fraction(1, 2)).holds is True


def sum_keeps_half() -> bool:
    """u_1 + u_2 = 1 has |u|_inf >= 1/2."""
    u, v = z3.Reals("u v")
    return prove(z3.Or(u >= z3.Q(1, 2), v >= z3.Q(1, 2)), u + v == 1).holds is True


def collides_at_half(W: np.ndarray) -> bool:
    """m < t rows: some e_j and some u of |u|_inf <= 1/2 have W u = W e_j, exactly."""
    m, t = W.shape
    exact = fmpq_mat(m, t, W.ravel().tolist())
    reduced, rank = exact.rref()
    pivots = [next(j for j in range(t) if reduced[i, j] != 0) for i in range(rank)]
    free = next(j for j in range(t) if j not in pivots)
    z = [Fraction(int(j == free)) for j in range(t)]
    for i, pivot in enumerate(pivots):
        z[pivot] = -Fraction(int(reduced[i, free].p), int(reduced[i, free].q))
    j = max(range(t), key=lambda k: abs(z[k]))
    u = [(k == j) - v / (2 * z[j]) for k, v in enumerate(z)]
    rows = [[int(v) for v in row] for row in W]
    equal = all(sum(w * v for w, v in zip(row, u, strict=True)) == row[j] for row in rows)
    return equal and max(map(abs, u)) <= Fraction(1, 2)


def check(*, largest: int = 16, matrices: int = 50, seed: int = 0, width: Law = first_layer_width) -> Finding:
    """The library's bound against the least number of rows, where it is known, for N - 1 = t <= D and D = t <= N - 1.

    Args:
        largest: largest t.
        matrices: random integer matrices with fewer than t rows.
        seed: seed of the matrices.
    """
    generator = np.random.default_rng(seed)
    shapes = [(int(generator.integers(1, t)), int(t)) for t in generator.integers(2, 7, matrices)]
    half = all(collides_at_half(generator.integers(-3, 4, shape)) for shape in shapes)
    cases = list(least_rows(largest))
    wrong = next((f"l_{norm}, t = {t}, rho = {rho:.6g}: open" for norm, t, rho, least in cases if not least), "")
    for norm, t, rho, least in cases:
        for samples, dim in ((t + 1, t), (t + 1, t + 3), (t + 4, t)):
            given = width(samples, dim, rho, norm)
            if given != least:
                wrong = wrong or f"l_{norm}, N = {samples}, D = {dim}, rho = {rho:.6g}: {least} rows, {given} claimed"
    holds = half and not wrong
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"{len(cases)} triples (norm, t, rho) up to t = {largest}, all W; "
        f"{matrices} matrices of fewer than t rows",
        bound="ceil(rho^2 t) in l_2, t a power of two, 1 in l_1, t in l_inf for rho > 1/2",
        measured=f"distances decided in l_1, l_2 and l_inf: {all(case[-1] for case in cases)}; collisions at 1/2 in "
        f"l_inf: {half}",
        constant="in l_inf with rho <= 1/2 the bound rho^2 t is up to t times too small: one row attains 1 / t only",
        counterexample=wrong,
    )


def law(exponent: float = 2.0, factor: float = 1.0, threshold: float = 0.5, one: float = 1.0) -> Law:
    """The claim with other numbers."""

    def width(samples: int, dim: int, ratio: float, norm: Norm) -> int:
        t = min(samples - 1, dim)
        if norm == "1":
            return math.ceil(one - 1e-9)
        if norm == "inf" and ratio > threshold:
            return t
        return max(1, math.ceil(factor * ratio**exponent * t - 1e-9))

    return width


CLAIM = Claim(
    statement="for e_1, ..., e_t and 0, t = min(N-1, D), the least first layer that keeps the open ball of 0 of radius "
    "rho/2 apart from those of e_1, ..., e_t has ceil(rho^2 t) neurons in l_2, t a power of two, 1 in l_1, and t in "
    "l_inf for rho > 1/2",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. 3.2, C.6 and C.7 (K5); attained: derived here",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={
        "2 <= largest <= 64": lambda largest: 2 <= largest <= 64,
        "matrices >= 1": lambda matrices: matrices >= 1,
    },
    deep={"largest": 64, "matrices": 1000},
    controls={
        "1.2 rho^2 t": {"width": law(factor=1.2)},
        "rho t": {"width": law(exponent=1.0)},
        "0.8 rho^2 t": {"width": law(factor=0.8)},
        "t in l_inf for rho > 1/3": {"width": law(threshold=1 / 3)},
        "two neurons in l_1": {"width": law(one=2.0)},
    },
    constants={
        "exponent 2 of rho": Constant(lambda f: {"width": law(exponent=2 * f)}),
        "factor 1 of rho^2 t": Constant(lambda f: {"width": law(factor=f)}),
        "rho > 1/2 in l_inf": Constant(lambda f: {"width": law(threshold=f / 2)}),
    },
)
