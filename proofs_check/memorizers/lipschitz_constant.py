"""Lipschitz constants of memorizers (K11, K12): f(x_i) = y_i needs 2 / lambda, and +-1 on all balls needs 2 / (lambda
- 2 mu); the first is attained.

A pair of labels +1 and -1 at distance lambda gives |f(x) - f(x')| = 2 over lambda; balls come as close as lambda - 2
mu. The network f = 1 - (2/lambda) min_i |x - x_i|_inf has constant 2 / lambda, since each distance is 1-Lipschitz and
so is their minimum, and |f| >= 1 - rho on all balls: on its own ball 1 - (2/lambda) mu, on others (2/lambda)(lambda -
mu) - 1. Both follow symbolically. The library's network is evaluated in rational arithmetic at corners of balls, and
its slopes are taken from gradients at random points. For hinge sums, normalized to +-1 on the balls, the constant is
compared with 2 / (lambda - 2 mu).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy as sp

from cgro.claims.claim import Claim, Finding
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

from .hinge_margins import corners


def margins_are_one_minus_rho() -> bool:
    """1 - (2/lambda) mu and (2/lambda)(lambda - mu) - 1 with mu = rho lambda / 2."""
    lam, rho = sp.symbols("lambda rho", positive=True)
    mu = rho * lam / 2
    return all(sp.simplify(value - (1 - rho)) == 0 for value in (1 - 2 / lam * mu, 2 / lam * (lam - mu) - 1))


def steepest(network: ReluNetwork, points: np.ndarray) -> float:
    """Largest l_1 norm of the gradient (Lipschitz constant in l_inf) at those points, off the hinges."""
    best = 0.0
    for x in points:
        h, slope = x, np.eye(len(x))
        for weight, bias in network.layers[:-1]:
            z = weight @ h + bias
            slope = np.asarray(weight @ slope) * (z > 0)[:, None]
            h = np.maximum(z, 0)
        best = max(best, float(np.abs(np.asarray(network.layers[-1][0] @ slope)).sum()))
    return best


def check(*, points: int = 8, dim: int = 2, seed: int = 0, factor: float = 1.0) -> Finding:
    """Margins and slopes of built networks.

    Args:
        points: points of each network.
        dim: their dimension.
        seed: seed of the points.
        factor: the claimed constant is factor times 2 / lambda.
    """
    proved = margins_are_one_minus_rho()
    generator = np.random.default_rng(seed)
    wrong, ratios, hinges, steep = "", [], [], 0.0
    for rho in (0.3, 0.7, 0.95):
        x, y = generator.uniform(size=(points, dim)), np.where(np.arange(points) % 2, 1, -1)
        apart = opposite_separation(LabelledPoints(x, y), "inf").distance
        built = memorize(x, y, "inf", rho * apart / 2, construction="lipschitz")
        exact = ExactNetwork.of(built.float_network)
        smallest = min(
            int(y[i]) * exact.evaluate(z)[0] for i in range(points) for z in corners(x[i], built.task.radius, "inf")
        )
        ratios.append(float(smallest) / (1 - rho))
        if smallest < (1 - Fraction(rho)) * (1 - Fraction(1, 10**9)):
            wrong = wrong or f"margin {float(smallest):.4g} at rho = {rho:g}"
        probes = generator.uniform(-0.2, 1.2, (400, dim))
        slope = steepest(built.float_network, probes) * apart / 2
        steep = max(steep, slope)
        if slope > factor * (1 + 1e-9):
            wrong = wrong or f"slope {slope:.4g} times 2 / lambda at rho = {rho:g}"
        # No function has a smaller slope between the closest pair.
        if factor < 1 - 1e-9:
            wrong = wrong or f"closest pair: f rises by 2 over {apart:.4g}"
        gap = (1 - rho) * apart
        sums = memorize(x, y, "inf", rho * apart / 2, construction="hinge_sum")
        hinges.append(steepest(sums.float_network, probes) / sums.margin * gap / 2)
    return Finding(
        holds=proved and not wrong,
        slack=factor / steep if proved and not wrong else 0.0,
        tested=f"all lambda and rho < 1; {points} points in dimension {dim}, three ratios, 400 slopes each",
        bound=f"margin 1 - rho; constant {factor:g} times 2 / lambda",
        measured=f"smallest margin {min(ratios):.9f} times 1 - rho; steepest {steep:.9f} times 2 / lambda",
        constant=f"hinge sums: up to {max(hinges):.3g} times the least possible 2 / (lambda - 2 mu)",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="f = 1 - (2/lambda) min_i |x - x_i|_inf has margin 1 - rho and the least Lipschitz constant, 2 / lambda",
    source="derived here; constant as for f* of Li et al., NeurIPS 2022, arXiv:2205.13863 (K11, K12)",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={"points >= 2": lambda points: points >= 2, "dim >= 1": lambda dim: dim >= 1},
    deep={"points": 30, "dim": 5},
    controls={"0.8 times 2 / lambda": {"factor": 0.8, "points": 4}},
)
