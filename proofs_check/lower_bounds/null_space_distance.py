"""Among any t of the unit vectors e_j one is close to the null space (K1): min dist_2(e_j, Null W) <= sqrt(m / t) for W
with m rows, and no less in general.

dist(e_j, Null W)^2 = P_jj = sum_i q_ij^2, P the orthogonal projection on the row space and q_1, ..., q_r an orthonormal
basis of it, r <= m. Each q_i adds at most |q_i|^2 = 1 to the sum over any t columns, so that sum is at most m, and the
least of t numbers is at most their mean: both steps by z3, for all real W and all sizes. The bound is attained for
every m <= t = 2^k by m rows of a Hadamard matrix, in D >= t dimensions with zeros beyond: [[H, H], [H, -H]] has
orthogonal rows if H does, for every order (sympy), and entries of one size.

The same is seen in rational arithmetic. For integer matrices P is computed with P = P^T = P^2, and its trace, its
diagonal and a random set of t columns are checked, as are the diagonals of small Hadamard frames.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import sympy as sp
import z3
from flint import fmpq, fmpq_mat

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove

Law = Callable[[int, int], float | Fraction]


def square_bound(rows: int, vectors: int) -> Fraction:
    """m / t, the bound of the squared distance."""
    return Fraction(rows, vectors)


def projection(W: np.ndarray) -> fmpq_mat:
    """The orthogonal projection on the row space of an integer matrix, exactly."""
    reduced, rank = fmpq_mat(*W.shape, W.ravel().tolist()).rref()
    rows = fmpq_mat(rank, W.shape[1], [reduced[i, j] for i in range(rank) for j in range(W.shape[1])])
    return rows.transpose() * (rows * rows.transpose()).inv() * rows


def is_projection(P: fmpq_mat, rank: int) -> bool:
    """P = P^T = P^2 with trace `rank`: then 0 <= P_jj, and P_jj is the squared distance."""
    return P.transpose() == P and P * P == P and sum((P[j, j] for j in range(P.nrows())), fmpq(0)) == rank


def trace_steps() -> bool:
    """One more orthonormal row adds at most 1 to the sum over t columns; and the least of t numbers, over their sum."""
    total, some, others, least, rank, t, m = z3.Reals("total some others least rank t m")
    more = prove(total + some <= rank + 1, total <= rank, some + others == 1, others >= 0)
    mean = prove(t * least <= m, t * least <= total, total <= rank, rank <= m, t > 0)
    return more.holds is True and mean.holds is True


def doubling_keeps_rows_orthogonal() -> bool:
    """B B^T = diag(2 H H^T, 2 H H^T) for B = [[H, H], [H, -H]] and H of any order."""
    n = sp.Symbol("n", integer=True, positive=True)
    H = sp.MatrixSymbol("H", n, n)
    B = sp.BlockMatrix([[H, H], [H, -H]])
    gram, zero = sp.block_collapse(B * B.T).blocks, sp.ZeroMatrix(n, n)
    return bool(gram[0, 1] == gram[1, 0] == zero and gram[0, 0] == gram[1, 1] == 2 * H * H.T)


def hadamard_rows(rows: int, vectors: int, dim: int) -> np.ndarray:
    """m rows of the Hadamard matrix of order t, a power of 2, and zeros in the other columns."""
    H = np.ones((1, 1), dtype=int)
    while len(H) < vectors:
        H = np.block([[H, H], [H, -H]])
    return np.hstack([H[:rows], np.zeros((rows, dim - vectors), dtype=int)])


def check(*, matrices: int = 200, largest: int = 8, seed: int = 0, bound: Law = square_bound) -> Finding:
    """Integer matrices with random sets of columns, and frames that attain the bound.

    Args:
        matrices: random integer matrices W.
        largest: largest t of the frames.
        seed: seed of the matrices.
    """
    generator = np.random.default_rng(seed)
    cases, exact = [], True
    for _ in range(matrices):
        m, d = int(generator.integers(1, 5)), int(generator.integers(2, 8))
        W = generator.integers(-3, 4, (m, d))
        if not W.any():
            continue
        P, t = projection(W), int(generator.integers(1, d + 1))
        exact &= is_projection(P, int(np.linalg.matrix_rank(W)))
        kept = generator.choice(d, t, replace=False).tolist()
        cases.append((m, t, min(Fraction(int(P[j, j].p), int(P[j, j].q)) for j in kept)))
    found = scan(sorted(cases), lambda case: (case[2], bound(*case[:2])))
    frames = [(m, t) for t in (2**e for e in range(1, 9)) if t <= largest for m in range(1, t + 1)]
    diagonals = {(m, t): projection(hadamard_rows(m, t, t + 2)) for m, t in frames}
    equal = all(P[j, j] == fmpq(m, t) for (m, t), P in diagonals.items() for j in range(t))
    off = next(((m, t) for m, t in frames if m < t and bound(m, t) != Fraction(m, t)), None)
    proved = trace_steps() and doubling_keeps_rows_orthogonal()
    holds = proved and exact and equal and off is None and found.holds
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"all real W, t and m; {found.count} integer matrices of 1 to 4 rows in up to 7 dimensions, t <= D "
        f"columns; {len(frames)} "
        "frames with t < D",
        bound="dist^2 <= m / t, attained",
        measured=f"steps proved: {proved}; frames attain m / t: {equal}; trace and diagonal exact: {exact}",
        counterexample=f"the frame of {off[0]} rows and {off[1]} vectors has dist^2 = {off[0]}/{off[1]}"
        if off
        else found.counterexample,
    )


CLAIM = Claim(
    statement="min_j dist_2(e_j, Null W) <= sqrt(m / t) over any t of the unit vectors e_j, for every real W with m "
    "rows, attained for all m <= t = 2^k",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, proof of Prop. 3.2 (K1)",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "matrices >= 1": lambda matrices: matrices >= 1,
        "2 <= largest <= 256": lambda largest: 2 <= largest <= 256,
    },
    deep={"matrices": 3000, "largest": 32},
    controls={
        "sqrt(0.8 m / t)": {"bound": lambda m, t: Fraction(4 * m, 5 * t), "matrices": 5},
        "sqrt(m / (t + 1))": {"bound": lambda m, t: Fraction(m, t + 1), "matrices": 5},
    },
    constants={
        "factor 1 of m / t": Constant(lambda f: {"bound": lambda m, t: f * m / t}),
        "square root, exponent 1/2 of m / t": Constant(lambda f: {"bound": lambda m, t: (m / t) ** f}),
        "t = 2^k": Constant(None, refuted=(), otherwise="where Hadamard matrices exist for sure"),
    },
)
