"""Construction S is robust for every rho < 1: h_i >= M on its own ball, h_i = 0 on balls of the other labels (K10).

With d the distance of x to x_i, q(t) = |t|^2 + e and 0 <= e <= eta, the ball neuron is h_i = relu(r^2 - d^2 - e), r =
lambda - mu.

    own ball:     d <= mu             r^2 - d^2 - e >= r^2 - mu^2 - eta = lambda (lambda - 2 mu) - eta = M
    other ball:   d >= lambda - mu    r^2 - d^2 - e <= 0

by the triangle inequality. Both are polynomial inequalities, proved for all lambda, mu, d, e in their domain, once by
the signs of coefficients and once by z3; equality at d = mu, e = eta makes M the least value. Then networks of the
library are evaluated in rational arithmetic at points of their balls that face the points of the other label: none has
a smaller margin than M / 2, M computed from the cube and eta = D 4^-(m+1), and f = -M / 2 on balls of the other label
attains it.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy as sp
import z3

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision, decide
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.ball_sum import scaled
from cgro.memorizers.constructions import memorize
from cgro.networks.exact import ExactNetwork

from .common import facing_points

Law = Callable[[Any, Any], Any]
"""A function of separation lambda and radius mu."""


def reach(separation: Any, radius: Any) -> Any:
    """r = lambda - mu, the largest radius of a ball that meets no ball of another label."""
    return separation - radius


def by_signs(cut: Law, closest: Law, double: float) -> list[Decision]:
    """Own ball and other ball for all mu >= 0 and gamma = lambda - 2 mu >= 0, by signs of coefficients."""
    mu, gamma, eta, e, d, more = sp.symbols("mu gamma eta e d more", nonnegative=True)
    separation = 2 * mu + gamma
    r = cut(separation, mu)
    M = separation * (separation - sp.nsimplify(double) * mu) - eta
    ball = r**2 - d**2 - e
    excess = sp.symbols("s c")
    own = (ball - M).subs({mu: d + excess[0], eta: e + excess[1]})
    other = -ball.subs(d, closest(separation, mu) + more)
    return [
        decide(own, dict.fromkeys([*excess, d, e, gamma], 0)),
        decide(other, dict.fromkeys([more, mu, gamma, e], 0)),
    ]


def by_z3(cut: Law, closest: Law, double: float) -> list[Decision]:
    """The same from the hypotheses as they stand, and that M is attained."""
    lam, mu, eta, e, d = z3.Reals("lambda mu eta e d")
    domain = (mu > 0, lam > 2 * mu, e >= 0, e <= eta, d >= 0)
    r, M = cut(lam, mu), lam * (lam - double * mu) - eta
    ball = r * r - d * d - e
    return [
        prove(ball >= M, *domain, d <= mu),
        prove(ball <= 0, *domain, d >= closest(lam, mu)),
        prove(ball == M, *domain, d == mu, e == eta),
    ]


def check(
    *,
    points: int = 6,
    seed: int = 0,
    double: float = 2.0,
    half: float = 0.5,
    cut: Law = reach,
    closest: Law = reach,
) -> Finding:
    """Both proofs, and exact margins of built networks.

    Args:
        points: points of each network, 4 or more.
        seed: seed of the points.
        double: claimed factor of mu in M.
        half: claimed least margin over M.
    """
    proofs = [*by_signs(cut, closest, double), *by_z3(cut, closest, double)]
    generator = np.random.default_rng(seed)
    cases = [(dim, ratio) for dim in (2, 3) for ratio in (0.5, 0.9, 0.99)]

    def claimed_and_exact(case: tuple[int, float]) -> tuple[Fraction, Fraction]:
        dim, ratio = case
        x, y = generator.uniform(size=(points, dim)), np.where(np.arange(points) % 2, 1, -1)
        separation = opposite_separation(LabelledPoints(x, y), "2")
        memorizer = memorize(x, y, "2", ratio * separation.distance / 2, construction="ball_sum")
        network = ExactNetwork.of(memorizer.float_network)
        exact = [int(y[i]) * network.evaluate(z)[0] for i, z in facing_points(memorizer.task)]
        # M of the cube, up to rounding, with squares of depth - 3 levels and the error of each.
        eta = Fraction(dim, 4 ** (memorizer.float_network.depth - 2))
        M = Fraction(scaled(memorizer.task).gap) - eta
        return M * Fraction(half) * (1 - Fraction(1, 10**6)), min(exact)

    found = scan(cases, claimed_and_exact)
    attained = found.slack <= 1 + 1e-6
    proved = [proof.holds is True for proof in proofs]
    return Finding(
        holds=(all(proved) and found.holds and attained) if all(p.holds is not None for p in proofs) else None,
        slack=found.slack if all(proved) and (attained or not found.holds) else 0.0,
        tested=f"all lambda, mu with 2 mu < lambda; points of balls of {found.count} networks, rho up to .99",
        bound="M / 2 on every ball, attained",
        measured=f"{proved.count(True)} of {len(proved)} statements proved; exact margins >= {found.slack:.3g} M / 2",
        counterexample="; ".join(proof.counterexample for proof in proofs if proof.counterexample)
        or ("" if found.holds and attained else f"exact margins are {found.slack:.4g} times the claim"),
    )


CLAIM = Claim(
    statement="for rho < 1 construction S, read out by its sign, has margin M / 2 on all l_2 balls, no more, M = "
    "lambda (lambda - 2 mu) - eta, in units of its cube, eta the error of its squares",
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
        "M one per cent larger": {"half": 0.505, "points": 4},
    },
    constants={
        "margin M / 2": Constant(lambda f: {"half": f / 2}),
        "2 mu": Constant(lambda f: {"double": 2 * f}),
    },
)
