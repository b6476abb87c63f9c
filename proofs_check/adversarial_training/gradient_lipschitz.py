"""The gradient of (1-g) L(x) + g max L(x'), the maximum over a ball, changes by at most K |u - v| + 2 g eps K', and
that is attained.

Hypotheses: grad_u L is K-Lipschitz in u at every point of the ball, and K'-Lipschitz in the point at all weights. With
x_u a worst case at u, the gradient at u is (1-g) grad L(u, x) + g grad L(u, x_u). Three differences make up the change
from u to v:

    clean       grad L(u, x) - grad L(v, x)         at most K |u - v|, with weight 1 - g
    weights     grad L(u, x_u) - grad L(v, x_u)     at most K |u - v|, with weight g
    points      grad L(v, x_u) - grad L(v, x_v)     at most K' |x_u - x_v|, with weight g, and |x_u - x_v| <= 2 eps

z3 derives the bound from these and from the triangle inequality. Then it decides the case L = K u^2 / 2 + u x in
dimension 1 around x = 0: K' = 1, eps sgn u is the only worst case at u, and for u > 0 > v, however close, the gradient
changes by exactly K |u - v| + 2 g eps. So no smaller constant holds, and the adversarial loss (g = 1) need not be
gradient-Lipschitz.
"""

from __future__ import annotations

import math

import z3

from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import possible, prove


def bounded(factor: float, own: float) -> bool | None:
    """|change| <= own K |u - v| + factor g eps K' under the hypotheses, all entering through norms."""
    change, clean, weights, points = z3.Reals("change clean weights points")
    K, K_mixed, distance, moved, eps, g = z3.Reals("K K' |u-v| |x_u-x_v| eps g")
    hypotheses = [
        *(g >= 0, g <= 1, eps > 0, K >= 0, K_mixed >= 0, distance >= 0, moved >= 0),
        *(clean <= K * distance, weights <= K * distance, points <= K_mixed * moved, moved <= 2 * eps),
        change <= (1 - g) * clean + g * weights + g * points,
    ]
    if not possible(*hypotheses, g > 0, K_mixed > 0):
        return False
    bound = z3.RealVal(str(own)) * K * distance + z3.RealVal(str(factor)) * g * eps * K_mixed
    return prove(change <= bound, *hypotheses).holds


def attained(factor: float, own: float) -> bool | None:
    """L = K u^2 / 2 + u x: every worst case at u > 0 > v, and the change of the gradient K u + (1-g) x + g x_u."""
    u, v, eps, g, x_u, x_v, z, K = z3.Reals("u v eps g x_u x_v z K")
    inside = z3.And(-eps <= z, z <= eps)
    worst = [
        z3.ForAll([z], z3.Implies(inside, u * z <= u * x_u)),
        z3.ForAll([z], z3.Implies(inside, v * z <= v * x_v)),
        *(-eps <= x_u, x_u <= eps, -eps <= x_v, x_v <= eps),
    ]
    change = K * u - K * v + g * x_u - g * x_v
    bound = z3.RealVal(str(own)) * K * (u - v) + z3.RealVal(str(factor)) * g * eps
    exact = prove(change == bound, u > 0, v < 0, eps > 0, g > 0, g <= 1, K >= 0, *worst)
    return exact.holds


def check(*, factor: float = 2.0, own: float = 1.0) -> Finding:
    """The bound from its hypotheses, and that one loss attains it, by z3.

    Args:
        factor: the claimed 2.
        own: the claimed factor 1 of K |u - v|.
    """
    factor, own = round(factor, 9), round(own, 9)
    parts = {"the bound": bounded(factor, own), "attained by L = K u^2 / 2 + u x": attained(factor, own)}
    wrong = [name for name, part in parts.items() if part is False]
    holds = False if wrong else None if None in parts.values() else True
    return Finding(
        holds=holds,
        slack=math.inf if holds else 0.0,
        tested="all norms, K, K', eps > 0 and g in [0, 1]; all u > 0 > v for L = K u^2 / 2 + u x",
        bound=f"K |u - v| + {factor:g} g eps K'",
        measured="; ".join(f"{name}: {'proved' if part else 'not proved'}" for name, part in parts.items()),
        counterexample=f"{wrong[0]} fails" if wrong else "",
    )


CLAIM = Claim(
    statement="if grad_u L is K-Lipschitz in u and K'-Lipschitz in x, that of (1-g) L(x) + g max L(x'), |x' - x| <= "
    "eps, 0 <= g <= 1, changes by at most K |u - v| + 2 g eps K', and this is attained",
    source="Dong et al., ICLR 2022, arXiv:2106.01606, stability of gradients and mixture of clean and adversarial loss",
    tag="[R]",
    evidence="symbolic",
    check=check,
    constants={
        "the factor 2": Constant(lambda f: {"factor": 2.0 * f}),
        "the factor 1 of K |u - v|": Constant(lambda f: {"own": f}),
    },
    controls={
        "eps K' instead of 2 eps K'": {"factor": 1.0},
        "1.98 instead of 2": {"factor": 1.98},
        "2.02, which is not attained": {"factor": 2.02},
    },
)
