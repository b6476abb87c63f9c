"""A robust network keeps points of opposite labels apart in its first layer (K3): |P (x_i - x_j)|_2 >= 2 mu, P onto
the row space of W_1.

Otherwise e = P (x_i - x_j) has |e| < 2 mu and W_1 e = W_1 (x_i - x_j), so x_i - e/2 and x_j + e/2 lie in the two
balls and agree after the first layer: no network with this first layer can tell them apart. For random rational W_1
the colliding pair is built and verified in rational arithmetic: both points inside their balls, equal images. The
library's falsifier must find a collision if and only if the bound is violated.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy as sp

from cgro.certify.necessary import first_layer_radius
from cgro.claims.claim import Claim, Finding


def projected(W: sp.Matrix, gap: sp.Matrix) -> sp.Matrix:
    """P gap, exactly."""
    rows = W[list(W.T.rref()[1]), :]
    return rows.T * (rows * rows.T).inv() * (rows * gap)


def check(*, cases: int = 60, shrink: float = 1.0, seed: int = 0) -> Finding:
    """Random first layers and pairs: the colliding pair at radii just above |e| / 2, and none found just below.

    Args:
        cases: random integer matrices W_1 and pairs of points.
        shrink: the claim is tested with shrink times |e| in place of |e|; 1 is the claim.
        seed: seed of the cases.
    """
    generator = np.random.default_rng(seed)
    wrong, where, tried = 0, "", 0
    for k in range(cases):
        d = int(generator.integers(2, 5))
        W = sp.Matrix(generator.integers(-3, 4, (int(generator.integers(1, d)), d)).tolist())
        x, y = (sp.Matrix(generator.integers(-5, 6, d).tolist()) for _ in range(2))
        if not any(W) or x == y:
            continue
        tried += 1
        e = projected(W, x - y)
        square = e.dot(e)
        first, second = x - e / 2, y + e / 2
        # Radius^2 = shrink^2 |e|^2 / 4.
        allowed = sp.Rational(Fraction(shrink).limit_denominator(100)) ** 2 * square / 4
        inside = (first - x).dot(first - x) <= allowed and (second - y).dot(second - y) <= allowed
        equal = W * first == W * second
        points = np.array([x, y], dtype=float).reshape(2, d)
        found = first_layer_radius(np.array(W, dtype=float), points, np.array([1, -1]), "2")
        agrees = abs(found - float(sp.sqrt(square)) / 2) <= 1e-9 * (1 + found)
        if not (inside and equal and agrees):
            wrong += 1
            where = where or f"case {k}: W_1 = {W.tolist()}, x_i - x_j = {list(x - y)}"
    return Finding(
        holds=wrong == 0,
        slack=1.0 if wrong == 0 else 0.0,
        tested=f"{tried} first layers and pairs in dimensions 2 to 4; all others by the argument",
        bound="radius |P (x_i - x_j)| / 2",
        measured=f"{tried - wrong} of {tried} pairs collide exactly at that radius, as the library's falsifier says",
        counterexample=where,
    )


CLAIM = Claim(
    statement="robust networks have |P (x_i - x_j)|_2 >= 2 mu for opposite labels, P onto the first layer's row space",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, proof of Prop. 3.2, for one data set; (K3)",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"cases >= 10": lambda cases: cases >= 10},
    deep={"cases": 2000},
    controls={"collisions at 0.8 times that radius": {"shrink": 0.8, "cases": 12}},
)
