"""The network of depth 2n + 1 and width 3D + 1 stores the points one by one: its state z becomes max(z, y_i
relu-indicator).

u = relu(y_i - (y_i / gamma) g_i - z) and z <- z + u, so z <- max(z, y_i (1 - g_i / gamma)): relu(a - z) + z = max(a,
z), decided on its cells. On the ball of a stored point its own term is y_i and those of other labels are <= 0, so z =
y_i exactly. Depth, width and exact outputs at corners of all balls are verified on networks of the library, in
rational arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.networks.exact import ExactNetwork

from .hinge_margins import corners

Shape = Callable[[int, int], tuple[int, int]]


def shape(stored: int, dim: int) -> tuple[int, int]:
    """Depth 2n + 1 (affine layers) and width 3D + 1."""
    return 2 * stored + 1, 3 * dim + 1


def update_is_a_maximum() -> bool:
    """relu(a - z) + z - max(a, z) on both cells."""
    z, s = sp.symbols("z s", positive=True)
    return all(
        sp.simplify(sp.Max(sp.expand(a - b), 0) + b - top) == 0 for a, b, top in ((z + s, z, z + s), (z, z + s, z + s))
    )


def check(*, points: int = 6, classes: int = 3, seed: int = 0, law: Shape = shape) -> Finding:
    """The update symbolically; shape and exact labels of built networks.

    Args:
        points: number of points of each network.
        classes: labels 0, ..., classes - 1.
        seed: seed of the points.
    """
    proved = update_is_a_maximum()
    generator = np.random.default_rng(seed)
    wrong, largest = "", Fraction(0)
    for dim, rho in ((1, 0.9), (2, 0.5), (2, 0.99), (3, 0.9)):
        x, y = generator.uniform(size=(points, dim)), np.arange(points) % classes
        apart = opposite_separation(LabelledPoints(x, y), "inf").distance
        built = memorize(x, y, "inf", rho * apart / 2, construction="sequential")
        stored = int((y != 0).sum())
        size = built.network.size
        if (size.depth, size.width) != law(stored, dim):
            wrong = wrong or f"n = {stored}, D = {dim}: depth {size.depth}, width {size.width}"
        network = ExactNetwork.of(built.float_network)
        off = max(
            abs(network.evaluate(z)[0] - int(y[i]))
            for i in range(points)
            for z in corners(x[i], built.task.radius, "inf")
        )
        largest = max(largest, off)
    holds = proved and not wrong and largest < Fraction(1, 10**6)
    return Finding(
        holds=holds,
        slack=1.0 if holds else 0.0,
        tested=f"all a, z; {points} points of {classes} classes in dimensions 1 to 3, corners of all balls",
        bound="depth 2n + 1, width 3D + 1, output = label",
        measured=f"outputs off by at most {float(largest):.2g}",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="depth 2n + 1 and width 3D + 1 memorize n stored points robustly in l_inf, for every rho < 1",
    source="Yu, Gao & Zhang, ICLR 2024, Theorem 4.3",
    tag="[N]",
    evidence="exact",
    check=check,
    hypotheses={"points > classes >= 2": lambda points, classes: points > classes >= 2},
    deep={"points": 20, "classes": 5},
    controls={
        "width 3D": {"law": lambda n, dim: (2 * n + 1, 3 * dim), "points": 4, "classes": 2},
        "depth 2n": {"law": lambda n, dim: (2 * n, 3 * dim + 1), "points": 4, "classes": 2},
    },
)
