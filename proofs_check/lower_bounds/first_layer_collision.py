"""A robust network keeps points of opposite labels apart in its first layer (K3): |P (x_i - x_j)|_2 >= 2 mu, P onto
the row space of W_1.

Otherwise e = P (x_i - x_j) has |e| < 2 mu and W_1 e = W_1 (x_i - x_j), so x_i - e/2 and x_j + e/2 lie in the two
balls and agree after the first layer: no network with this first layer can tell them apart. If |e| > 2 mu no pair
collides: W_1 z = W_1 z' makes z - z' orthogonal to w = e / |e|, which is in the row space (sympy, all sizes), so that
|e| = <w, x_i - x_j> = <w, x_i - z> + <w, z' - x_j> <= 2 mu by Cauchy and Schwarz. Both directions are decided by z3 in
lengths and inner products, hence for every real W_1, all points and all D.

For integer W_1 and points the same is seen in rational arithmetic, with P = P^T = P^2 and W_1 P = W_1: the colliding
pair has equal images and lies in the balls of radius 1.01 |e| / 2, and no pair in those of 0.99 |e| / 2 has. The
library's falsifier must report |e| / 2.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy as sp
import z3

from cgro.certify.necessary import first_layer_radius
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import all_of, prove, real
from cgro.claims.symbolic import Decision


def projected(W: sp.Matrix, gap: sp.Matrix) -> sp.Matrix:
    """P gap, exactly."""
    rows = W[list(W.T.rref()[1]), :]
    return rows.T * (rows * rows.T).inv() * (rows * gap)


def every_layer(factor: Fraction) -> Decision:
    """Collisions from mu = |e| / factor on, and none below, for every W_1 and D; s = |e|."""
    s, mu, first, second, one, other, image = z3.Reals("s mu first second one other image")
    k = real(factor)
    # first = <w, x_i - z>, one = |x_i - z|; second and other alike for z' and x_j. A square is not negative.
    cauchy = [length * length - inner * inner >= 0 for length, inner in ((one, first), (other, second))]
    near = [one >= 0, other >= 0, one <= mu, other <= mu]
    m, dim = sp.symbols("m D", integer=True, positive=True)
    W, u, z = sp.MatrixSymbol("W", m, dim), sp.MatrixSymbol("u", m, 1), sp.MatrixSymbol("z", dim, 1)
    orthogonal = ((W.T * u).T * z).doit() == (u.T * (W * z)).doit()
    return all_of(
        {
            "x_i - e/2 and x_j + e/2 in the balls": prove(s / 2 <= mu, s > 0, mu >= s / k),
            # W_1 (x_i - e/2 - x_j - e/2) = W_1 (x_i - x_j) - W_1 e.
            "equal images": prove(image - image / 2 - image / 2 == 0),
            "W^T u and z are orthogonal if W z = 0": Decision(bool(orthogonal)),
            "no pair below": prove(s <= k * mu, s > 0, mu > 0, first + second == s, *cauchy, *near),
        }
    )


def check(*, cases: int = 60, factor: float = 2.0, seed: int = 0) -> Finding:
    """Random first layers and pairs: they collide from radius |e| / 2 on, and not before.

    Args:
        cases: random integer matrices W_1 and pairs of points.
        factor: collisions are claimed from radius |e| / factor on.
        seed: seed of the cases.
    """
    proof = every_layer(Fraction(factor).limit_denominator(1000))
    generator = np.random.default_rng(seed)
    wrong, where, tried = 0, proof.counterexample, 0
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
        radius = square / sp.Rational(Fraction(factor).limit_denominator(1000)) ** 2  # squared
        farther = max((first - x).dot(first - x), (second - y).dot(second - y))
        collides = farther <= radius * sp.Rational(101, 100) ** 2
        # |e| <= 2 r for every colliding pair.
        apart = square > 4 * radius * sp.Rational(99, 100) ** 2
        equal = W * first == W * second
        P = projected(W, sp.eye(d))
        projects = P.T == P and P * P == P and W * P == W
        points = np.array([x, y], dtype=float).reshape(2, d)
        found = first_layer_radius(np.array(W, dtype=float), points, np.array([1, -1]), "2")
        agrees = abs(found - float(sp.sqrt(square)) / 2) <= 1e-9 * (1 + found)
        if not (collides and apart and equal and projects and agrees) and square:
            wrong += 1
            where = where or f"case {k}: W_1 = {W.tolist()}, x_i - x_j = {list(x - y)}"
    return Finding(
        holds=False if wrong else proof.holds,
        slack=1.0 if not wrong and proof.holds else 0.0,
        tested=f"all real W_1 and points in every dimension; {tried} first layers and pairs in dimensions 2 to 4",
        bound=f"radius |P (x_i - x_j)| / {factor:g}",
        measured=f"{tried - wrong} of {tried} pairs collide at 1.01 and not at 0.99 times that radius, as the "
        "library's falsifier says",
        counterexample=where,
    )


CLAIM = Claim(
    statement="networks with first weight W_1 that are robust on closed l_2 balls of radius mu have |P (x_i - x_j)|_2 "
    "> 2 mu for opposite labels, P onto the row space of W_1; where all pairs have, no two points of opposite balls "
    "agree after that layer",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, proof of Prop. 3.2, for one data set; (K3)",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"cases >= 10": lambda cases: cases >= 10},
    deep={"cases": 2000},
    controls={
        "collisions at 0.8 times that radius": {"factor": 2.5, "cases": 12},
        "no collision below 1.25 times that radius": {"factor": 1.6, "cases": 12},
    },
    constants={"2 mu": Constant(lambda f: {"factor": 2 * f})},
)
