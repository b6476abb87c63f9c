"""The network of depth 2n + 1 and width 3D + 1 stores the points one by one: its state z becomes max(z, y_i (1 - g_i /
gamma)).

u = relu(y_i - (y_i / gamma) g_i - z) and z <- z + u, so that z <- max(z, y_i (1 - q)), q = g_i / gamma. On the ball of
a point with label y > 0 the state stays in [0, y] until the point itself sets it to y, and keeps it; on balls of the
smallest label, 0, it stays 0: terms of other labels have q >= 1, those of the same label q >= 0, the own one q = 0. z3
decides each of these steps for all real numbers (with the hinges of `hinge-margins` for q), hence for all n, D and
labels. For networks of the library it decides for all points of all balls that the output is the label, exactly; depth
and width are compared with the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, in_ball, outputs, prove, relu
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork

from .hinge_margins import hinges

Shape = Callable[[int, int], tuple[float, float]]


def shape(stored: int, dim: int, layers: float = 2.0, neurons: float = 3.0) -> tuple[float, float]:
    """Depth 2n + 1 (affine layers) and width 3D + 1."""
    return layers * stored + 1, neurons * dim + 1


def updates() -> dict[str, Decision]:
    """The update, and what it does to the state on the ball of a point with label y."""
    z, y, q, a, other = z3.Reals("z y q a other")
    after = z + relu(y * (1 - q) - z)
    state = (z >= 0, z <= y, y > 0)
    return {
        "update": prove(z + relu(a - z) == z3.If(a >= z, a, z)),
        "another label": prove(z + relu(other * (1 - q) - z) == z, q >= 1, other > 0, z >= 0),
        "the same label": prove(z3.And(after >= z, after <= y), *state, q >= 0),
        "the point itself": prove(after == y, *state, q == 0),
        "afterwards": prove(after == y, z == y, y > 0, q >= 0),
    }


def built(dim: int, ratio: float, points: int, classes: int, seed: int) -> Memorizer:
    """A network for random points with short coordinates."""
    generator = np.random.default_rng([seed, dim])
    x = generator.permuted(np.tile(np.arange(64 * points), (dim, 1)), axis=1).T[:points] / 64
    y = np.arange(points) % classes
    apart = opposite_separation(LabelledPoints(x, y), "inf").distance
    return memorize(x, y, "inf", ratio * apart / 2, construction="sequential")


def labels_on_balls(memorizer: Memorizer) -> dict[str, Decision]:
    """Whether the output is the label for all points of each ball."""
    network, task = ExactNetwork.of(memorizer.float_network), memorizer.task
    x = z3.Reals([f"x{k}" for k in range(task.data.dim)])
    parts = {}
    for i, (center, label) in enumerate(zip(task.data.points, task.data.labels, strict=True)):
        within, box = in_ball(x, center, "inf", task.radius)
        (value,) = outputs(network, x, box)
        parts[f"ball {i}"] = prove(value == int(label), within)
    return parts


def check(
    *, points: int = 6, classes: int = 3, largest_dim: int = 2, ratio: float = 0.99, seed: int = 0, law: Shape = shape
) -> Finding:
    """The update for all real numbers; shape and labels of built networks, for all points of their balls.

    Args:
        points: number of points of each network.
        classes: labels 0, ..., classes - 1.
        largest_dim: networks have dimensions 1 to this.
        ratio: larger of the two rho of the networks.
        seed: seed of the points.
    """
    parts = updates() | {f"hinges, {name}": d for name, d in hinges().items()}
    count = 0
    for dim in range(1, largest_dim + 1):
        for rho in (0.5, ratio):
            memorizer = built(dim, rho, points, classes, seed)
            size, stored = memorizer.network.size, int((memorizer.task.data.labels != 0).sum())
            same = (size.depth, size.width) == law(stored, dim)
            parts[f"D = {dim}, rho = {rho:g}, shape"] = Decision(same, f"depth {size.depth}, width {size.width}")
            parts |= {f"D = {dim}, rho = {rho:g}, {name}": d for name, d in labels_on_balls(memorizer).items()}
            count += 1
    for more in (1, 2, 5):
        memorizer = built(1, 0.5, points + more * classes, classes, seed)
        size, stored = memorizer.network.size, int((memorizer.task.data.labels != 0).sum())
        same = (size.depth, size.width) == law(stored, 1)
        parts[f"n = {stored}, shape"] = Decision(same, f"depth {size.depth}, width {size.width}")
    return finding(
        parts,
        tested=f"all n, D and labels; {count} networks of {points} points in {classes} classes, all points of their "
        "balls; shapes for three larger n",
        bound="depth 2n + 1, width 3D + 1, output = label",
    )


CLAIM = Claim(
    statement="networks of depth 2n + 1 and width 3D + 1 memorize points in R^D robustly in l_inf for every rho < 1, "
    "n >= 2 of them, the stored ones, of another label than the smallest, 0",
    source="Yu, Gao & Zhang, ICLR 2024, as recalled",
    tag="[N]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "points > classes >= 2": lambda points, classes: points > classes >= 2,
        "n >= 2, the points whose label is not 0": lambda points, classes: points - math.ceil(points / classes) >= 2,
        "1 <= largest_dim <= 4": lambda largest_dim: 1 <= largest_dim <= 4,
        "0 < ratio < 1": lambda ratio: 0 < ratio < 1,
    },
    deep={"points": 10, "classes": 4, "largest_dim": 3},
    constants={
        "depth 2n + 1": Constant(lambda factor: {"law": lambda n, dim: shape(n, dim, layers=2 * factor)}),
        "width 3D + 1": Constant(lambda factor: {"law": lambda n, dim: shape(n, dim, neurons=3 * factor)}),
        "n >= 2": Constant(None, refuted=(), otherwise="one stored point takes width 3 D"),
    },
    controls={
        "width 3D": {"law": lambda n, dim: (2 * n + 1, 3 * dim), "points": 4, "classes": 2},
        "depth 2n": {"law": lambda n, dim: (2 * n, 3 * dim + 1), "points": 4, "classes": 2},
    },
)
