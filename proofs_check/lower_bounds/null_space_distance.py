"""Some unit vector is close to the null space (K1): min_{j <= t} dist_2(e_j, Null W) <= sqrt(m / t) for every W with
m rows.

dist(e_j, Null W)^2 = |P e_j|^2 with P the orthogonal projection on the row space, and sum_j |P e_j|^2 = trace P =
rank W <= m, so the mean over any t of the unit vectors is at most m / t. P = W^T (W W^T)^-1 W is computed in rational
arithmetic for integer matrices. Equality holds for rows that form a harmonic tight frame: m = 2 with columns at equal
angles, where P is exact in sympy.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

Law = Callable[[int, int], Fraction]


def square_bound(rows: int, vectors: int) -> Fraction:
    """m / t, the bound of the squared distance."""
    return Fraction(rows, vectors)


def squared_distances(W: sp.Matrix) -> list[sp.Rational]:
    """Diagonal of the projection on the row space: dist(e_j, Null W)^2."""
    independent = W[list(W.T.rref()[1]), :]
    P = independent.T * (independent * independent.T).inv() * independent
    return [P[j, j] for j in range(W.cols)]


def tight_frame(vectors: int) -> sp.Matrix:
    """Two rows, whose columns lie at angles 2 pi j / t."""
    return sp.Matrix(2, vectors, lambda k, j: (sp.cos, sp.sin)[k](2 * sp.pi * j / vectors))


def check(*, matrices: int = 40, seed: int = 0, bound: Law = square_bound) -> Finding:
    """Integer matrices and tight frames, exactly.

    Args:
        matrices: random integer matrices W.
        seed: seed of the matrices.
    """
    generator = np.random.default_rng(seed)
    shapes = [(int(m), int(m + generator.integers(0, 3))) for m in generator.integers(1, 4, matrices)]
    cases = [sp.Matrix(generator.integers(-3, 4, shape).tolist()) for shape in sorted(shapes)]

    def distance_and_bound(W: sp.Matrix) -> tuple[Fraction, Fraction]:
        squares = sorted(Fraction(int(d.p), int(d.q)) for d in squared_distances(W)) if any(W) else [Fraction(0)]
        return squares[0], bound(W.rows, W.cols)

    found = scan(cases, distance_and_bound)
    frames = [set(map(sp.nsimplify, map(sp.simplify, squared_distances(tight_frame(t))))) for t in (3, 4, 6)]
    attained = all(values == {sp.Rational(2, t)} for values, t in zip(frames, (3, 4, 6), strict=True))
    beaten = [t for t in (3, 4, 6) if Fraction(2, t) > bound(2, t)]
    return Finding(
        holds=found.holds and attained and not beaten,
        slack=min(found.slack, 1.0) if not beaten else min(found.slack, float(bound(2, 3) / Fraction(2, 3))),
        tested=f"{found.count} integer matrices of 1 to 3 rows; frames of 3, 4 and 6 vectors; all others by the trace",
        bound="dist^2 <= m / t",
        measured=f"equality for tight frames: {attained}",
        counterexample=f"the tight frame of {beaten[0]} vectors in the plane" if beaten else "",
    )


CLAIM = Claim(
    statement="min_j dist_2(e_j, Null W) <= sqrt(m / t) over t unit vectors, for every matrix W with m rows",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, proof of Prop. 3.2 (K1)",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"matrices >= 1": lambda matrices: matrices >= 1},
    deep={"matrices": 1000},
    controls={
        "sqrt(0.8 m / t)": {"bound": lambda m, t: Fraction(4 * m, 5 * t), "matrices": 5},
        "sqrt(m / (t + 1))": {"bound": lambda m, t: Fraction(m, t + 1), "matrices": 5},
    },
)
