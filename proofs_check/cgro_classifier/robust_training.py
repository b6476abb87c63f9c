"""Zero robust training error around any clean classifier (a), and f^ = f_clean outside the shells (b), in rational
arithmetic.

(a) On the ball of x_i its indicator is 1 and those of other labels are 0, so S >= 1, the gate is closed for |c| <= B,
and y_i f^ >= 1. The clean networks that are gated are wrong on every training point; f^ is evaluated exactly at
extreme points of all balls. (b) Farther than delta + gamma from all points every indicator is 0, and f^ = relu(c) -
relu(-c) = c exactly: compared on a rational grid of the plane.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from cgro.base.norms import Norm
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.exact import ExactNetwork
from cgro.networks.relu import ReluNetwork

Exact = list[Fraction]


def adversarial_clean(scale: float) -> ReluNetwork:
    """A clean network wrong on all points of `gated`: -scale sign-like in the second coordinate."""
    return ReluNetwork.of(
        [(np.array([[0.0, 1.0], [0.0, -1.0]]), np.zeros(2)), (np.array([[-scale, scale]]), np.zeros(1))]
    )


def gated(norm: Norm, radius: float, scale: float, shell: float) -> Memorizer:
    """Six points in two rows, label = sign of the row, and the wrong clean network."""
    x = np.array([[float(k), 0.75 * s] for k in range(3) for s in (1, -1)])
    y = np.array([s for _ in range(3) for s in (1, -1)])
    return cgro_classifier(
        memorization_task(x, y, norm, radius), clean=adversarial_clean(scale), shell=shell, domain=(-2, 4)
    )


def steps(norm: Norm, r: Fraction) -> list[tuple[Fraction, Fraction]]:
    """Extreme points of the ball; in l_2 axes and a Pythagorean point."""
    axis = [(r, 0 * r), (-r, 0 * r), (0 * r, r), (0 * r, -r)]
    if norm == "inf":
        return [(a * r, b * r) for a in (1, -1) for b in (1, -1)]
    return axis + ([(Fraction(3, 5) * r, Fraction(-4, 5) * r)] if norm == "2" else [])


def size(norm: Norm, step: tuple[Fraction, Fraction]) -> Fraction:
    """The norm; in l_2 squared."""
    a, b = abs(step[0]), abs(step[1])
    return a + b if norm == "1" else max(a, b) if norm == "inf" else a * a + b * b


def check(*, radius: float = 0.25, shell: float = 0.125, grid: int = 24, wrong_bound: float = 1.0) -> Finding:
    """(a) at extreme points of balls, (b) on a grid, in three norms.

    Args:
        radius: perturbation radius delta, below 0.5.
        shell: width gamma of the shell.
        grid: points of the grid in each direction.
        wrong_bound: |f_clean| over the bound B for which the gate is built; the claim needs at most 1.
    """
    lowest, same, where = Fraction(10), True, ""
    for norm in ("1", "2", "inf"):
        built = gated(norm, radius, 3.0, shell)
        network = ExactNetwork.of(built.float_network)
        if wrong_bound != 1:
            network = ExactNetwork.of(_with_larger_clean(built, wrong_bound))
        x, y = built.task.data.points, built.task.data.labels
        for i, center in enumerate(x):
            for step in steps(norm, Fraction(radius)):
                z = [Fraction(float(c)) + d for c, d in zip(center, step, strict=True)]
                margin = int(y[i]) * network.evaluate(z)[0]
                if margin < lowest:
                    lowest, where = margin, f"l_{norm}, point {i}"
        same &= _equals_clean(norm, built, network, Fraction(radius) + Fraction(shell), grid, 3 * wrong_bound)
    holds = lowest >= 1 and same
    return Finding(
        holds=holds,
        slack=float(lowest) if holds else min(float(lowest), 0.0),
        tested=f"extreme points of six balls in three norms, a clean network wrong on all; a grid of {grid}^2 points",
        bound="margin 1; f^ = f_clean outside the shells",
        measured=f"smallest margin {float(lowest):.6g}; off the shells f^ {'equals' if same else 'is not'} f_clean",
        counterexample="" if holds else where,
    )


def _with_larger_clean(built: Memorizer, factor: float) -> ReluNetwork:
    """The same gate around a clean network `factor` times as large."""
    network = built.float_network
    weights, biases = [w.copy() for w in network.weights], [b.copy() for b in network.biases]
    # Clean rows of the second layer read the clean network's hidden neurons, which come first.
    weights[0] = weights[0].toarray() if hasattr(weights[0], "toarray") else weights[0]
    weights[0][:2] *= factor
    return ReluNetwork(tuple(weights), tuple(biases))


def _equals_clean(
    norm: Norm, built: Memorizer, network: ExactNetwork, reach: Fraction, grid: int, scale: float
) -> bool:
    limit = reach if norm != "2" else reach * reach
    for a in range(grid):
        for b in range(grid):
            z = [Fraction(-1) + Fraction(4 * a, grid - 1), Fraction(-3, 2) + Fraction(3 * b, grid - 1)]
            far = all(
                size(norm, (z[0] - Fraction(float(c[0])), z[1] - Fraction(float(c[1])))) >= limit
                for c in built.task.data.points
            )
            if far and network.evaluate(z)[0] != -Fraction(scale) * z[1]:
                return False
    return True


CLAIM = Claim(
    statement="for every |f_clean| <= B, f^ has margin 1 on all balls and equals f_clean outside the shells",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Lemma 4.5 and Theorem 4.4; statements a and b derived here",
    tag="[D]",
    evidence="exact",
    check=check,
    hypotheses={
        "0 < radius < 0.5": lambda radius: 0 < radius < 0.5,
        "0 < shell <= 1 - 2 radius": lambda shell, radius: 0 < shell <= 1 - 2 * radius,
        "grid >= 4": lambda grid: grid >= 4,
    },
    deep={"grid": 120},
    controls={"a clean network 4 times larger than B": {"wrong_bound": 4.0, "grid": 4}},
)
