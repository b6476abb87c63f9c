"""The grid family of the lower bound: a linear classifier has no clean error, the balls force all K^(D-1) labels, and
the separation is as claimed.

Points (i_1/K, ..., i_{D-1}/K, 1/2 + e phi(i)), phi any labelling. (1) x_D = 1/2 separates them, with at most D + 1
parameters. (2) In l_inf two points of different labels are max(|i - i'| / K, 2 e) apart, at least 1/K for different
cells. (3) For a radius c / (2K) > e the ball of a cell holds its point with x_D = 1/2 on either side, so no function
of x_D alone is robust: a robust classifier must realize phi on the cells. All in rational arithmetic over all
labellings of small grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np

from cgro.claims.claim import Claim, Finding

Point = tuple[Fraction, ...]


def family(K: int, dim: int, offset: Fraction, labels: tuple[int, ...]) -> list[Point]:
    """The points, in the order of product(range(K), repeat=dim - 1)."""
    cells = product(range(1, K + 1), repeat=dim - 1)
    return [
        (*(Fraction(i, K) for i in cell), Fraction(1, 2) + offset * y) for cell, y in zip(cells, labels, strict=True)
    ]


def labellings(cells: int, most: int, seed: int) -> Iterator[tuple[int, ...]]:
    """All labellings, or random ones if there are too many."""
    if 2**cells <= most:
        yield from product((-1, 1), repeat=cells)
        return
    generator = np.random.default_rng(seed)
    for _ in range(most):
        yield tuple(int(v) for v in generator.choice([-1, 1], cells))


def check(*, cells_per_side: int = 3, dim: int = 3, ratio: float = 0.5, offset: float = 0.01, seed: int = 0) -> Finding:
    """Statements (1) to (3) over labellings.

    Args:
        cells_per_side: K.
        dim: D.
        ratio: radius times 2K, in (0, 1).
        offset: e, how far points leave the hyperplane.
        seed: seed of the labellings, if there are more than 256.
    """
    e = Fraction(offset).limit_denominator(10**6)
    radius = Fraction(ratio).limit_denominator(1000) / (2 * cells_per_side)
    cells, tested, wrong = cells_per_side ** (dim - 1), 0, ""
    for labels in labellings(cells, 256, seed):
        tested += 1
        points = family(cells_per_side, dim, e, labels)
        clean = all((p[-1] > Fraction(1, 2)) == (y > 0) for p, y in zip(points, labels, strict=True))
        apart = [max(abs(a - b) for a, b in zip(p, q, strict=True)) for i, p in enumerate(points) for q in points[:i]]
        separated = not apart or min(apart) >= Fraction(1, cells_per_side)
        # The linear classifier is wrong somewhere in every ball: move along x_D by the radius.
        broken = all((p[-1] - y * radius - Fraction(1, 2)) * y < 0 for p, y in zip(points, labels, strict=True))
        if not (clean and separated and broken):
            wrong = wrong or f"labels {labels}: clean {clean}, separated {separated}, linear one broken {broken}"
    return Finding(
        holds=not wrong,
        slack=1.0 if not wrong else 0.0,
        tested=f"{tested} labellings of {cells_per_side}^{dim - 1} cells in dimension {dim}",
        bound="clean error 0 by a hyperplane, separation 1/K, all balls broken",
        measured=f"{cells} = K^(D-1) labels are free",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="the grid family is linearly separable and 1/K-separated, and the hyperplane errs on every ball",
    source="Li et al., NeurIPS 2022, arXiv:2205.13863, proof of Theorem 4.3",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={
        "cells_per_side >= 2, dim >= 2": lambda cells_per_side, dim: cells_per_side >= 2 and dim >= 2,
        "at most 400 cells": lambda cells_per_side, dim: cells_per_side ** (dim - 1) <= 400,
        "0 < ratio < 1": lambda ratio: 0 < ratio < 1,
    },
    deep={"cells_per_side": 4, "dim": 4},
    controls={
        "offsets larger than the radius": {"offset": 0.1, "cells_per_side": 2, "dim": 2, "ratio": 0.2},
        "radius 0.02 / (2K)": {"ratio": 0.02, "cells_per_side": 2, "dim": 2},
    },
)
