"""Lipschitz constants of memorizers (K11, K12): every f with y_i f(x_i) >= 1 has constant 2 / lambda at least, and the
network 1 - (2/lambda) min_i |x - x_i|_inf over the points of label +1 no more; its margin on the balls is 1 - rho.

A pair of labels +1 and -1 at distance lambda gives |f(x) - f(x')| >= 2 over lambda. Distances in one coordinate are
1-Lipschitz in l_inf, and maxima and minima of two such functions are, so every tree of them is: z3 decides the steps
for all real numbers, which gives all D and N by induction. So are the margins: on its own ball the smallest distance is
at most mu, on others at least lambda - mu. For networks of the library, z3 then decides for all pairs of real points of
the plane that f changes by no more than 2 / lambda times their distance, and for all points of their balls that the
margin is 1 - rho, attained.
"""

from __future__ import annotations

from fractions import Fraction

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import finding, outputs, prove, real
from cgro.claims.symbolic import Decision
from cgro.memorizers.task import Memorizer
from cgro.networks.exact import ExactNetwork

from .hinge_margins import ROUNDING, built, margins_on_balls, size


def steps(factor: float) -> dict[str, Decision]:
    """The least constant of any f, `factor` times 2 / lambda, and why trees of distances are 1-Lipschitz."""
    a, b, c, d, delta = z3.Reals("a b c d delta")
    L, lam, mu, near = z3.Reals("L lambda mu near")
    close = (size(a - c) <= delta, size(b - d) <= delta)
    f, g = z3.Reals("f g")
    return {
        "least": prove(L * lam >= real(Fraction(2 * factor)), f >= 1, g <= -1, f - g <= L * lam, lam > 0),
        "|t|": prove(size(size(a) - size(c)) <= delta, size(a - c) <= delta),
        "max": prove(size(z3.If(a >= b, a, b) - z3.If(c >= d, c, d)) <= delta, *close),
        "min": prove(size(z3.If(a <= b, a, b) - z3.If(c <= d, c, d)) <= delta, *close),
        # lambda times the margin, with rho lambda = 2 mu.
        "own ball": prove(lam - 2 * near >= lam - 2 * mu, near <= mu),
        # At the points themselves, where 2 / lambda times the smallest distance is 0, or at least 2.
        "y f >= 1 at points": prove(z3.And(1 - near * 2 / lam <= -1), near >= lam, lam > 0),
        "another ball": prove(2 * near - lam >= lam - 2 * mu, near >= lam - mu),
    }


def is_lipschitz(memorizer: Memorizer, factor: float) -> Decision:
    """f(x) - f(x') <= factor (2 / lambda) |x - x'|_inf for all real x, x', up to the rounding of the slope."""
    network, dim = ExactNetwork.of(memorizer.float_network), memorizer.task.data.dim
    x, z = (z3.Reals([f"{name}{k}" for k in range(dim)]) for name in "xz")
    (at_x,), (at_z,) = outputs(network, x), outputs(network, z)
    far = z3.Real("far")
    slope = Fraction(2 * factor) / Fraction(memorizer.task.separation.distance) / ROUNDING
    return prove(at_x - at_z <= real(slope) * far, *(size(a - b) <= far for a, b in zip(x, z, strict=True)))


def check(*, points: int = 6, largest_dim: int = 2, seed: int = 0, factor: float = 1.0) -> Finding:
    """The steps for all real numbers; constants and margins of built networks.

    Args:
        points: points of each network.
        largest_dim: networks have dimensions 1 to this.
        seed: seed of the points.
        factor: the claimed least constant is factor times 2 / lambda.
    """
    parts, count = steps(factor), 0
    for dim in range(1, largest_dim + 1):
        for ratio in (0.3, 0.95):
            memorizer = built("inf", dim, ratio, points, seed, "lipschitz")
            task = memorizer.task
            claimed = 1 - 2 * Fraction(task.radius) / Fraction(task.separation.distance)
            on_balls = margins_on_balls(memorizer, claimed)
            parts |= {f"D = {dim}, rho = {ratio:g}, {name}": d for name, d in on_balls.items()}
            parts[f"D = {dim}, rho = {ratio:g}, constant"] = is_lipschitz(memorizer, factor)
            count += 1
    return finding(
        parts,
        tested=f"all D, N, lambda, mu; all pairs of points for {count} networks, dimensions 1 to {largest_dim}",
        bound=f"constant {factor:g} times 2 / lambda, no less for any f; margin 1 - rho, attained",
    )


CLAIM = Claim(
    statement="f = 1 - (2/lambda) min_i |x - x_i|_inf, i over the points of label +1, has margin 1 - rho, and of all f "
    "with y_i f(x_i) >= 1 the least Lipschitz constant in l_inf, 2 / lambda",
    source="derived here; constant as for f* of Li et al., NeurIPS 2022, arXiv:2205.13863 (K11, K12)",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "points >= 4": lambda points: points >= 4,
        "1 <= largest_dim <= 3": lambda largest_dim: 1 <= largest_dim <= 3,
    },
    deep={"points": 8, "largest_dim": 3},
    constants={"2 / lambda": Constant(lambda factor: {"factor": factor})},
    controls={"0.8 times 2 / lambda": {"factor": 0.8, "points": 4}},
)
