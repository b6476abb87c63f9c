"""Hinge sums in l_inf and l_1 have margin gamma / 2 on all balls, gamma = lambda - 2 mu, for every rho < 1 (K11); it
is attained.

l_inf: one coordinate's hinges are relu(|t| - mu), so that g_i, their sum over coordinates, is 0 on its own ball; on a
ball of another label one coordinate alone gives gamma, and the others give >= 0. l_1: g_i = |x - x_i|_1 - mu by |t| = 2
relu(t) - t, and the triangle inequality. In both, h_i = relu(gamma - g_i) is >= gamma on its own ball and 0 on those of
other labels, so sum_i h_i - gamma / 2 has the right sign and size. z3 decides each step for all real numbers, with sums
over the other coordinates and points as unknowns >= 0: hence all D and N. Networks of the library are then decided for
all real points of their balls: the margin is the claimed one, less its outward rounding, and it is attained.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import z3

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import Formula, finding, in_ball, outputs, possible, prove, real, relu
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork

Margin = Callable[[Any, Any], Any]
CONSTRUCTION: dict[Norm, str] = {"inf": "hinge_sum", "1": "absolute_sum"}
ROUNDING = 1 - Fraction(1, 10**9)
"""Biases are rounded outwards: margins are slightly smaller than in real arithmetic."""


def margin(separation: Any, radius: Any, twice: Any = 2, half: Any = 2) -> Any:
    """(lambda - 2 mu) / 2, of numbers or of z3 terms."""
    return (separation - twice * radius) / half


def size(t: Formula) -> Formula:
    """|t|."""
    return z3.If(t >= 0, t, -t)


def hinges() -> dict[str, Decision]:
    """What the sums of hinges are on the own ball, and on balls of other labels."""
    x, a, b, mu, lam, rest = z3.Reals("x a b mu lambda rest")
    hinge = relu(x - a - mu) + relu(a - x - mu)
    return {
        "hinges": prove(hinge == relu(size(x - a) - mu), mu >= 0),
        "own ball": prove(hinge == 0, size(x - a) <= mu),
        "a coordinate": prove(hinge >= 0),
        # `rest` is the sum over other coordinates.
        "another ball": prove(hinge + rest >= lam - 2 * mu, rest >= 0, size(x - b) <= mu, size(a - b) >= lam, mu >= 0),
    }


def distances() -> dict[str, Decision]:
    """The same for l_1, where the steps of the triangle inequality are summed over coordinates."""
    t, x, a, b = z3.Reals("t x a b")
    to_a, to_b, apart, mu, lam = z3.Reals("to_a to_b apart mu lambda")
    return {
        "|t|": prove(2 * relu(t) - t == size(t)),
        "triangle": prove(size(a - b) <= size(x - a) + size(x - b)),
        "another ball in l_1": prove(to_a - mu >= lam - 2 * mu, apart <= to_a + to_b, to_b <= mu, apart >= lam),
    }


def sums(law: Margin) -> dict[str, Decision]:
    """From g_i to the output, for the two labels; `rest` is the sum of the other indicators of the own label."""
    g, mu, lam, rest = z3.Reals("g mu lambda rest")
    gamma = lam - 2 * mu
    h = relu(gamma - g)
    return {
        "own indicator": prove(h >= gamma, g <= 0),
        "other indicator": prove(h == 0, g >= gamma),
        "stored label": prove(gamma + rest - gamma / 2 >= law(lam, mu), rest >= 0, gamma > 0, mu > 0),
        "other label": prove(gamma / 2 == law(lam, mu), gamma > 0, mu > 0),
    }


def built(norm: Norm, dim: int, ratio: float, points: int, seed: int, construction: str) -> Memorizer:
    """A memorizer of random points with short coordinates and alternating labels."""
    generator = np.random.default_rng([seed, dim])
    # Off the axes, and different from each other, so that the separation is positive.
    x = generator.permuted(np.tile(np.arange(64 * points), (dim, 1)), axis=1).T[:points] / 64
    y = np.where(np.arange(points) % 2, 1, -1)
    apart = opposite_separation(LabelledPoints(x, y), norm).distance
    return memorize(x, y, norm, ratio * apart / 2, construction=construction)


def margins_on_balls(memorizer: Memorizer, claimed: Fraction) -> dict[str, Decision]:
    """Whether the margin is at least that number for all points of all balls, and not more for one of them."""
    network, task = ExactNetwork.of(memorizer.float_network), memorizer.task
    x = z3.Reals([f"x{k}" for k in range(task.data.dim)])
    parts, attained = {}, False
    for i, (center, label) in enumerate(zip(task.data.points, task.data.labels, strict=True)):
        within, box = in_ball(x, center, task.norm, task.radius)
        (value,) = outputs(network, x, box)
        parts[f"ball {i}"] = prove(int(label) * value >= real(claimed * ROUNDING), within)
        attained = attained or possible(int(label) * value <= real(claimed / ROUNDING), within) is True
    return parts | {"attained": Decision(attained, "" if attained else "every margin is larger")}


def check(*, points: int = 6, largest_dim: int = 2, seed: int = 0, law: Margin = margin) -> Finding:
    """The steps for all real numbers, and networks for all points of their balls.

    Args:
        points: points of each network.
        largest_dim: networks have dimensions 1 to this.
        seed: seed of the points.
    """
    parts = hinges() | distances() | sums(law)
    count = 0
    for norm, name in CONSTRUCTION.items():
        for dim in range(1, largest_dim + 1):
            for ratio in (0.5, 0.99):
                memorizer = built(norm, dim, ratio, points, seed, name)
                task = memorizer.task
                claimed = law(Fraction(task.separation.distance), Fraction(task.radius))
                on_balls = margins_on_balls(memorizer, Fraction(claimed))
                parts |= {f"l_{norm}, D = {dim}, rho = {ratio:g}, {name}": d for name, d in on_balls.items()}
                count += 1
    return finding(
        parts,
        tested=f"all D, N, lambda, mu; all points of the balls of {count} networks, rho up to .99",
        bound="gamma / 2, attained; by networks up to rounding of their weights, 1e-9",
    )


CLAIM = Claim(
    statement="hinge sums in l_inf and l_1 of points of two labels, read by sign, have margin (lambda - 2 mu) / 2 on "
    "all balls, attained, for every rho < 1",
    source="after Yu, Gao & Zhang, ICLR 2024; parallel form (K11)",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "points >= 4": lambda points: points >= 4,
        "1 <= largest_dim <= 4": lambda largest_dim: 1 <= largest_dim <= 4,
    },
    deep={"points": 12, "largest_dim": 3},
    constants={
        "2 mu": Constant(lambda factor: {"law": lambda lam, mu: margin(lam, mu, twice=Fraction(2 * factor))}),
        "(lambda - 2 mu) / 2": Constant(
            lambda factor: {"law": lambda lam, mu: margin(lam, mu, half=Fraction(2 * factor))}
        ),
    },
    controls={
        "a margin 20 % larger": {"law": lambda lam, mu: margin(lam, mu) * 6 / 5, "points": 4},
        "(lambda - mu) / 2": {"law": lambda lam, mu: (lam - mu) / 2, "points": 4},
    },
)
