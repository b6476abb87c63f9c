"""Some projection to k dimensions keeps the balls of construction S apart: k >= 4 rho^2 d and k > 4 ln(N/2) / (ln 2 -
1/2), or k = d.

At most N^2 / 4 pairs have different labels. By the tail of a projection with beta = 1/2 and a union bound the
probability that some pair shrinks below sqrt(k / (2 d)) is less than (N^2 / 4) exp(-(k/2)(ln 2 - 1/2)) < 1, for every
k > 4 ln(N/2) / (ln 2 - 1/2). So a projection with lambda' >= sqrt(k / (2 d)) lambda exists, and lambda' >= sqrt(2) 2
mu if k >= 4 rho^2 d. The points span at most N - 1 dimensions, and the projection onto their span is an isometry, so
d = min(N - 1, D).

The union bound is evaluated for every N to a million with the k of the library, in interval arithmetic. How much
smaller k may be is measured on the hardest data, a simplex: the k / d at which half of the random projections still
keep lambda' > 2 mu.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from mpmath import iv

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding
from cgro.data.separation import LabelledPoints, nearest_opposite_distances
from cgro.memorizers.projection_bounds import projected_dim

Law = Callable[[int, int, float], int]


def check(*, trials: int = 7, seed: int = 0, law: Law = projected_dim) -> Finding:
    """The union bound over N, d and rho, the stretch k >= 4 rho^2 d, and the smallest k that random projections allow.

    Args:
        trials: random projections of a simplex for each dimension tried.
        seed: seed of the projections.
    """
    sizes = [n for e in range(1, 20) for n in (2**e, 3 * 2 ** (e - 1))]
    cases = [
        (n, d, rho) for n in sizes for d in (1, 5, 30, 200, 10_000) for rho in (0.01, 0.1, 0.3, 0.49, 0.9) if d < n
    ]

    def failure_and_one(case: tuple[int, int, float]) -> tuple[float, float]:
        n, d, rho = case
        k = law(n, d, rho)
        if k >= d:  # the isometry
            return 0.0, 1.0
        chance = iv.mpf(n) ** 2 / 4 * iv.exp(-iv.mpf(k) / 2 * (iv.log(2) - iv.mpf(1) / 2))
        stretched = k >= 4 * rho**2 * d - 1e-6
        # The union bound is strict.
        return (float(chance.b) if stretched else math.inf), math.nextafter(1.0, 0.0)

    found = scan(cases, failure_and_one)
    measured, allowed = smallest_dim(64, 0.3, trials, seed), law(64, 63, 0.3)
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"{found.count} triples (N, d, rho), N up to {sizes[-1]:,}; simplex of 64 points, rho = .3",
        bound="probability of failure < 1",
        measured=f"largest at (N, d, rho) = {found.tightest}",
        constant=f"half of random projections of the simplex need k = {measured} of 63 where the bound asks {allowed} "
        f"and rho^2 d = {0.09 * 63:.1f}",
        counterexample=f"(N, d, rho) = {found.counterexample}" if not found.holds else "",
    )


def smallest_dim(points: int, ratio: float, trials: int, seed: int) -> int:
    """Smallest k for which half of `trials` random projections of the simplex keep the balls of alternating labels
    apart."""
    d = points - 1
    x = np.eye(points) - 1 / points
    x = x @ np.linalg.svd(x)[2][:d].T
    y = np.where(np.arange(points) % 2, 1, -1)
    generator = np.random.default_rng(seed)
    bases = [np.linalg.qr(generator.standard_normal((d, d)))[0] for _ in range(trials)]

    def share(k: int) -> float:
        kept = [nearest_opposite_distances(LabelledPoints(x @ q[:, :k], y), "2").min() for q in bases]
        return float(np.mean(np.array(kept) > ratio * math.sqrt(2)))

    return next(k for k in range(1, d + 1) if share(k) >= 0.5)


CLAIM = Claim(
    statement="some projection to k = max(4 rho^2 d, 20.8 ln(N/2) + 1) dimensions keeps balls apart, rho' <= 1/sqrt 2",
    source="construction S, with Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. B.19 and B.21 as model",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={"trials >= 1": lambda trials: trials >= 1},
    deep={"trials": 51},
    controls={
        "20 % fewer dimensions for the pairs": {
            "law": lambda n, d, rho: min(
                d, max(math.ceil(4 * rho**2 * d), math.floor(0.8 * 20.7 * math.log(n / 2)) + 1)
            ),
            "trials": 1,
        },
        "3 rho^2 d": {
            "law": lambda n, d, rho: min(d, max(math.ceil(3 * rho**2 * d), projected_dim(n, d, 1e-9))),
            "trials": 1,
        },
    },
)
