"""Even powers tell the l_inf balls of all data of separation lambda apart, by sum_k |x_k - x_ik|^p, if and only if
D mu^p < (lambda - mu)^p, that is p > ln D / ln((2 - rho) / rho); p = 2 iff D < ((2 - rho) / rho)^2.

On its own ball the sum is at most D mu^p; on a ball of another label one coordinate alone gives (lambda - mu)^p. For
the two points 0 and lambda e_1 both are attained, at a corner of the ball of 0 and on the axis: if the condition fails,
a point of the other ball has no larger sum than one of the own ball. Other data may do with smaller p. z3 decides the
steps for all real numbers: powers are monotone by induction from p to p + 2, and sums add coordinates. So the condition
is necessary as well as sufficient; with mu = rho lambda / 2 it says D < x^p for x = (2 - rho) / rho > 1. The library's
choice of p is compared with that in integers, for rational rho, and with the logarithms enclosed in balls. Networks of
the library are then decided by z3 for all points of their balls: their margin is at least the one that they state.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import z3

from cgro.claims.balls import ball, certainly_less
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, in_ball, outputs, prove, real
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.memorizers.shared_powers import smallest_power
from cgro.networks.exact import ExactNetwork

Choice = Callable[[int, Fraction], int]


def chosen(dim: int, ratio: Fraction) -> int:
    """The library's p, for separation 2: mu = rho."""
    return smallest_power(dim, float(ratio), float(2 - ratio))


def works(dim: int, ratio: Fraction, p: int) -> bool:
    """D mu^p < (lambda - mu)^p for separation 2, exactly."""
    return dim * ratio**p < (2 - ratio) ** p


def monotone() -> dict[str, Decision]:
    """|t| <= s implies t^p <= s^p, and |t| >= s >= 0 implies t^p >= s^p: at p = 2, and from p to p + 2."""
    t, s, a, b, rest, total, D = z3.Reals("t s a b rest total D")
    small, large = z3.And(t <= s, -t <= s), z3.And(s >= 0, z3.Or(t >= s, -t >= s))
    return {
        "at most, p = 2": prove(t * t <= s * s, small),
        "at least, p = 2": prove(t * t >= s * s, large),
        # a and b stand for t^p and s^p.
        "at most, p + 2": prove(a * t * t <= b * s * s, small, a >= 0, a <= b),
        "at least, p + 2": prove(a * t * t >= b * s * s, large, b >= 0, a >= b),
        "own ball, one coordinate more": prove(total + a <= rest + b, total <= rest, a <= b),
        "another ball": prove(a + rest >= b, a >= b, rest >= 0),
        # The corner of the ball of 0 has D times mu^p, the point of the other ball nearest to 0 (lambda - mu)^p.
        "necessary for a pair": prove((total < rest) == (D * a < b), total == D * a, rest == b),
    }


def attained(dim: int, ratio: Fraction, p: int) -> bool:
    """Whether sums at p separate a pair along an axis, 0 and 2 e_1, by two points of their balls, if and only if p
    `works`: the corner of the ball of 0, and the point of the ball of 2 e_1 nearest to 0."""
    center = [Fraction(2)] + [Fraction(0)] * (dim - 1)
    corner = [ratio] * dim
    nearest = [v - max(-ratio, min(ratio, v)) for v in center]
    inside = max(corner) <= ratio and max(abs(a - b) for a, b in zip(nearest, center, strict=True)) <= ratio
    own, other = (sum((v**p for v in point), Fraction(0)) for point in (corner, nearest))
    return inside and (own < other) == works(dim, ratio, p)


def agrees(dim: int, ratio: Fraction, p: int, two: float) -> bool | None:
    """Whether p ln((2 - rho) / rho) > ln D, decided in balls, says the same as integers; equality is not certain."""
    x = (ball(Fraction(two)) - ball(ratio)) / ball(ratio)
    less = certainly_less(lambda: (ball(dim).log(), p * x.log()))
    return None if less is None else less == works(dim, ratio, p)


def margins_on_balls(dim: int, ratio: float, points: int, seed: int) -> dict[str, Decision]:
    """A built network's own margin, for all points of all balls."""
    generator = np.random.default_rng([seed, dim])
    x = generator.permuted(np.tile(np.arange(4 * points), (dim, 1)), axis=1).T[:points] / 4
    y = np.where(np.arange(points) % 2, 1, -1)
    radius = ratio * opposite_separation(LabelledPoints(x, y), "inf").distance / 2
    built = memorize(x, y, "inf", radius, construction="even_power")
    network, point, parts = ExactNetwork.of(built.float_network), z3.Reals([f"x{k}" for k in range(dim)]), {}
    for i, (center, label) in enumerate(zip(x, y, strict=True)):
        within, box = in_ball(point, center, "inf", built.task.radius)
        (value,) = outputs(network, point, box)
        parts[f"D = {dim}, ball {i}"] = prove(int(label) * value >= real(Fraction(built.margin)), within)
    return parts


def check(
    *,
    largest_dim: int = 40,
    points: int = 4,
    seed: int = 0,
    two: float = 2.0,
    power: float = 2.0,
    choice: Choice = chosen,
) -> Finding:
    """The condition, the choice for rational rho, and the margins of networks.

    Args:
        largest_dim: largest D of the choice.
        points: points of each network, in dimensions 1 and 2.
        seed: seed of the points.
        two: the 2 of (2 - rho) / rho.
        power: the exponent of D < ((2 - rho) / rho)^2.
    """
    cases = [(d, Fraction(k, 20)) for d in range(1, largest_dim + 1) for k in range(1, 20)]
    parts = monotone() | margins_on_balls(1, 0.5, points, seed) | margins_on_balls(2, 0.3, points, seed)
    parts |= {f"p = 4, {name}": decision for name, decision in margins_on_balls(2, 0.85, 2, seed).items()}

    def all_cases(name: str, holds: Callable[[int, Fraction], bool]) -> None:
        wrong = next((case for case in cases if not holds(*case)), None)
        parts[name] = Decision(wrong is None, f"D = {wrong[0]}, rho = {wrong[1]}" if wrong else "")

    all_cases("points of a pair", lambda d, rho: all(attained(d, rho, p) for p in (2, 4, choice(d, rho))))
    all_cases("p suffices", lambda d, rho: works(d, rho, choice(d, rho)))
    all_cases("p is the least", lambda d, rho: choice(d, rho) == 2 or not works(d, rho, choice(d, rho) - 2))
    all_cases("logarithms", lambda d, rho: all(agrees(d, rho, p, two) is not False for p in (2, 4, 6)))
    all_cases("p = 2", lambda d, rho: (choice(d, rho) == 2) == _is_less(d, rho, power))
    return finding(
        parts,
        tested=f"all D, p, lambda, mu; D up to {largest_dim} and rho = 1/20 to 19/20 in integers; all points of the "
        "balls of three networks, one with p = 4",
        bound="the smallest even p > ln D / ln((2 - rho) / rho)",
        measured=f"p up to {max(choice(*c) for c in cases)}",
    )


def _is_less(dim: int, ratio: Fraction, power: float) -> bool:
    """D < ((2 - rho) / rho)^power."""
    x = (2 - ratio) / ratio
    return dim < x**2 if power == 2 else dim < float(x) ** power


CLAIM = Claim(
    statement="for even p sum_k |x_k - x_ik|^p tells l_inf balls of radius mu = rho lambda / 2 apart for all data of "
    "separation lambda in R^D iff D mu^p < (lambda - mu)^p, that is p > ln D / ln((2 - rho) / rho); p = 2 does iff D < "
    "((2 - rho) / rho)^2",
    source="derived here, for l_inf with shared features",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "largest_dim >= 2": lambda largest_dim: largest_dim >= 2,
        "2 <= points <= 6": lambda points: 2 <= points <= 6,
    },
    deep={"largest_dim": 120},
    constants={
        "rho lambda / 2": Constant(None, refuted=(), otherwise="defines rho"),
        "2 - rho": Constant(lambda factor: {"two": 2 * factor}),
        "((2 - rho) / rho)^2": Constant(lambda factor: {"power": 2 * factor}),
    },
    controls={
        "p smaller by 2": {"choice": lambda d, rho: max(2, chosen(d, rho) - 2), "largest_dim": 10},
        "ln D / ln(1 / rho)": {"choice": lambda d, rho: smallest_power(d, float(rho), 1.0), "largest_dim": 10},
    },
)
