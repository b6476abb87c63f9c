"""Hinge sums in l_inf and l_1 have margin gamma / 2 on all balls, gamma = lambda - 2 mu, for every rho < 1 (K11); it
is attained.

l_inf: one coordinate's hinges relu(t - mu) + relu(-t - mu) = relu(|t| - mu), so g_i = sum_k relu(|x_k - x_ik| - mu)
is 0 on its own ball and at least |x - x_i|_inf - mu >= gamma on balls of other labels. l_1: g_i = |x - x_i|_1 - mu.
In both, h_i = relu(gamma - g_i) is >= gamma on its own ball and 0 on those of other labels, so sum_i h_i - gamma / 2
has the right sign and size. The hinge identity is decided on its cells. Networks of the library are evaluated in
rational arithmetic at corners of balls: their smallest margin is the claimed one, less its outward rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product

import numpy as np
import sympy as sp

from cgro.base.norms import Norm
from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.networks.exact import ExactNetwork

Margin = Callable[[Fraction, Fraction], Fraction]
CONSTRUCTION: dict[Norm, str] = {"inf": "hinge_sum", "1": "absolute_sum"}


def margin(separation: Fraction, radius: Fraction) -> Fraction:
    """(lambda - 2 mu) / 2."""
    return (separation - 2 * radius) / 2


def hinge_residuals() -> list[sp.Expr]:
    """relu(t - mu) + relu(-t - mu) - relu(|t| - mu) for |t| above and below mu, both signs."""
    mu, more, share = sp.symbols("mu more share", positive=True)
    inside = mu * share / (1 + share)
    left = []
    for size in (mu + more, inside):
        for t in (size, -size):
            value = sp.Max(sp.expand(t - mu), 0) + sp.Max(sp.expand(-t - mu), 0) - sp.Max(sp.expand(size - mu), 0)
            left.append(sp.simplify(value))
    return left


def corners(center: np.ndarray, radius: float, norm: Norm) -> list[list[Fraction]]:
    """Extreme points of the ball: signs in l_inf, axes in l_1."""
    r, d = Fraction(radius), len(center)
    if norm == "inf":
        steps = [tuple(s * r for s in signs) for signs in product((1, -1), repeat=d)]
    else:
        steps = [tuple(s * r * (k == j) for k in range(d)) for j in range(d) for s in (1, -1)]
    return [[Fraction(float(c)) + v for c, v in zip(center, step, strict=True)] for step in steps]


def check(*, points: int = 6, seed: int = 0, law: Margin = margin) -> Finding:
    """The identity, and exact margins at extreme points of balls. |f| is not convex, but elsewhere the proof bounds it.

    Args:
        points: points of each network.
        seed: seed of the points.
    """
    left = hinge_residuals()
    generator = np.random.default_rng(seed)
    norms: tuple[Norm, ...] = ("1", "inf")
    cases = [(norm, dim, ratio) for norm in norms for dim in (1, 2, 3) for ratio in (0.5, 0.99)]
    loosest = 0.0

    def claimed_and_exact(case: tuple[Norm, int, float]) -> tuple[Fraction, Fraction]:
        nonlocal loosest
        norm, dim, ratio = case
        x, y = generator.uniform(size=(points, dim)), np.where(np.arange(points) % 2, 1, -1)
        apart = opposite_separation(LabelledPoints(x, y), norm).distance
        built = memorize(x, y, norm, ratio * apart / 2, construction=CONSTRUCTION[norm])
        network = ExactNetwork.of(built.float_network)
        exact = min(
            int(y[i]) * network.evaluate(z)[0] for i in range(points) for z in corners(x[i], built.task.radius, norm)
        )
        claimed = law(Fraction(apart), Fraction(built.task.radius))
        loosest = max(loosest, float(exact / claimed))
        # Rounded outwards: slightly less than the construction has in real arithmetic.
        return claimed * (1 - Fraction(1, 10**9)), exact

    found = scan(cases, claimed_and_exact)
    return found.finding(
        "(norm, D, rho)",
        proof=not any(left),
        tested=f"the identity for all t, mu; all extreme points of balls of {found.count} networks, rho up to .99",
        bound="gamma / 2",
        measured=f"smallest exact margin over gamma / 2: {found.slack:.9f}, largest {loosest:.3g}",
    )


CLAIM = Claim(
    statement="hinge sums in l_inf and l_1 have margin (lambda - 2 mu) / 2 on all balls, attained, for every rho < 1",
    source="after Yu, Gao & Zhang, ICLR 2024; parallel form (K11)",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"points >= 4": lambda points: points >= 4},
    deep={"points": 20},
    controls={
        "a margin 20 % larger": {"law": lambda separation, radius: margin(separation, radius) * 6 / 5, "points": 4},
        "(lambda - mu) / 2": {"law": lambda separation, radius: (separation - radius) / 2, "points": 4},
    },
)
