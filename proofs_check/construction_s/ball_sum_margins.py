"""Construction S is robust for every rho < 1: h_i >= M on its own ball, h_i = 0 on balls of the other labels (K10).

With d the distance of x to x_i, q(t) = |t|^2 + e and 0 <= e <= eta, the ball neuron is h_i = relu(r^2 - d^2 - e), r =
lambda - mu.

    own ball:     d <= mu             r^2 - d^2 - e >= r^2 - mu^2 - eta = lambda (lambda - 2 mu) - eta = M
    other ball:   d >= lambda - mu    r^2 - d^2 - e <= 0

by the triangle inequality. Both are polynomial inequalities, proved for all lambda, rho, d, e in their domain. Then
networks of the library are evaluated in rational arithmetic at points of their balls that face the nearest points of
the other label.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import sympy as sp

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.claims.symbolic import Decision, decide
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.networks.exact import ExactNetwork

from .common import facing_points

Law = Callable[[sp.Expr, sp.Expr], sp.Expr]
"""A function of separation lambda and radius mu."""


def reach(separation: sp.Expr, radius: sp.Expr) -> sp.Expr:
    """r = lambda - mu, the largest radius of a ball that meets no ball of another label."""
    return separation - radius


def decisions(cut: Law, closest: Law) -> list[Decision]:
    """Own ball, other ball, and the gap M + eta, for all mu >= 0 and gamma = lambda - 2 mu >= 0 (rho < 1)."""
    mu, gamma, eta, e, d = sp.symbols("mu gamma eta e d", nonnegative=True)
    separation = 2 * mu + gamma
    r = cut(separation, mu)
    M = separation * (separation - 2 * mu) - eta
    ball = r**2 - d**2 - e
    return [
        decide(
            (ball - M).subs({mu: d + sp.Symbol("s"), eta: e + sp.Symbol("c")}),
            dict.fromkeys([*sp.symbols("s c"), d, e, gamma], 0),
        ),
        decide(
            -ball.subs(d, closest(separation, mu) + sp.Symbol("s")), dict.fromkeys([sp.Symbol("s"), mu, gamma, e], 0)
        ),
    ]


def check(*, points: int = 6, seed: int = 0, cut: Law = reach, closest: Law = reach) -> Finding:
    """The proof, and exact margins of built networks.

    Args:
        points: points of each network, 4 or more.
        seed: seed of the points.
    """
    proofs = decisions(cut, closest)
    generator = np.random.default_rng(seed)
    cases = [(dim, ratio) for dim in (2, 3) for ratio in (0.5, 0.9, 0.99)]

    def claimed_and_exact(case: tuple[int, float]) -> tuple[Fraction, Fraction]:
        dim, ratio = case
        x, y = generator.uniform(size=(points, dim)), np.where(np.arange(points) % 2, 1, -1)
        separation = opposite_separation(LabelledPoints(x, y), "2")
        memorizer = memorize(x, y, "2", ratio * separation.distance / 2, construction="ball_sum")
        network = ExactNetwork.of(memorizer.float_network)
        exact = [int(y[i]) * network.evaluate(z)[0] for i, z in facing_points(memorizer.task)]
        return Fraction(memorizer.margin), min(exact)

    found = scan(cases, claimed_and_exact)
    proved = [proof.holds is True for proof in proofs]
    return Finding(
        holds=(all(proved) and found.holds) if all(proof.holds is not None for proof in proofs) else None,
        slack=found.slack if all(proved) else 0.0,
        tested=f"all lambda, mu with 2 mu < lambda; points of balls of {found.count} networks, rho up to .99",
        bound="M / 2 on every ball",
        measured=f"{proved.count(True)} of 2 inequalities proved; smallest exact margin over M / 2: {found.slack:.3g}",
        counterexample="; ".join(proof.counterexample for proof in proofs if proof.counterexample),
    )


CLAIM = Claim(
    statement="construction S has margin >= M / 2 on all balls, M = lambda (lambda - 2 mu) - eta, for every rho < 1",
    source="construction S",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={"points >= 4": lambda points: points >= 4},
    deep={"points": 12},
    controls={
        "cut at lambda instead of lambda - mu": {"cut": lambda separation, radius: separation, "points": 4},
        "balls of other labels as close as lambda - 2 mu": {
            "closest": lambda separation, radius: separation - 2 * radius,
            "points": 4,
        },
    },
)
