"""Separation beyond 2 delta is needed: two points of different labels at distance d <= 2 delta have a common
perturbed point.

In every norm the midpoint is at d / 2 <= delta from both, so every classifier has a robust error at one of them; at d
> 2 delta the balls are disjoint, since dist(x, z) + dist(z, y) >= d. Decided in rational arithmetic in l_1, l_2
(squared) and l_inf over pairs of integer points. The library must refuse every radius of half the separation or more.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np

from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.memorizers.task import memorization_task

Step = tuple[int, ...]


def measure(step: tuple[Fraction, ...], norm: Norm) -> Fraction:
    """The norm; in l_2 its square."""
    sizes = [abs(v) for v in step]
    return (
        sum(sizes, Fraction(0))
        if norm == "1"
        else max(sizes)
        if norm == "inf"
        else sum((v * v for v in sizes), Fraction(0))
    )


def admits(step: Step, norm: Norm, share: Fraction) -> bool:
    """Whether the library accepts points 0 and `step` at a radius of that share of their distance."""
    points = np.array([[0.0] * len(step), step])
    distance = {"1": np.abs(points[1]).sum(), "2": np.linalg.norm(points[1]), "inf": np.abs(points[1]).max()}[norm]
    try:
        memorization_task(points, [1, -1], norm, float(share) * float(distance))
    except UserError:
        return False
    return True


def check(*, size: int = 3, share: float = 0.5) -> Finding:
    """Midpoints of all pairs of integer points of the plane up to a size, and the library's refusal.

    Args:
        size: largest coordinate.
        share: the radius, as a share of the distance, from which balls are claimed to meet; 1/2 is the claim.
    """
    part = Fraction(share).limit_denominator(1000)
    norms: tuple[Norm, ...] = ("1", "2", "inf")
    cases = [(step, norm) for step in product(range(-size, size + 1), repeat=2) if any(step) for norm in norms]
    cases.sort(key=lambda case: sum(map(abs, case[0])))

    def halfway_and_radius(case: tuple[Step, Norm]) -> tuple[Fraction, Fraction]:
        step, norm = case
        half = measure(tuple(Fraction(v, 2) for v in step), norm)
        whole = measure(tuple(Fraction(v) for v in step), norm)
        return half, (part**2 if norm == "2" else part) * whole

    found = scan(cases, halfway_and_radius)
    refused = all(
        not admits(step, norm, Fraction(1, 2)) and admits(step, norm, Fraction(49, 100)) for step, norm in cases
    )
    return Finding(
        holds=found.holds and refused,
        slack=found.slack if refused else 0.0,
        tested=f"{found.count} pairs of integer points in l_1, l_2, l_inf; all others by the triangle inequality",
        bound=f"radius {share:g} times the distance",
        measured=f"midpoints at half the distance; the library {'refuses' if refused else 'takes'} such radii",
        counterexample=f"0 and {found.violation[0]} in l_{found.violation[1]}" if found.violation else "",
    )


CLAIM = Claim(
    statement="points of different labels at distance <= 2 delta share a perturbed point: separation is needed",
    source="Li & Li, ICML 2025, arXiv:2306.01271, Assumption 4.2",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"size >= 1": lambda size: size >= 1, "share > 0": lambda share: share > 0},
    deep={"size": 12},
    controls={"at radius 0.4 d already": {"share": 0.4, "size": 1}},
)
