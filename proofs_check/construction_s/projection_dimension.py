"""Some projection to k dimensions keeps the balls of construction S apart: k >= 4 rho^2 d and k > 4 ln(N/2) / (ln 2 -
1/2), k <= d. Where these ask for more than d, the library takes k = d without a projection, and rho' = rho.

With two labels at most N^2 / 4 pairs have different ones (with more there may be N (N-1) / 2, and k must be larger). By
the tail of a projection (`projection-tail`) with beta = 1/2 and a union bound the probability that some pair shrinks
below sqrt(k / (2 d)) is at most (N^2 / 4) exp(-(k/2)(ln 2 - 1/2)). It decreases in k and is 1 at k = 4 ln(N/2) / (ln 2
- 1/2), symbolically, so it is below 1 for every N and every larger k. So a projection with lambda'^2 >= k lambda^2 / (2
d) exists, and with k >= 4 rho^2 d it has rho'^2 = (rho lambda / lambda')^2 <= 1/2, decided by z3. The points span at
most N - 1 dimensions, and the projection onto their span is an isometry, so d = min(N - 1, D).

The library rounds k up in float64. For every k the N that need it, up to floor(2 exp(k (ln 2 - 1/2) / 4)), are
enclosed in balls; the library must give k at the first and the last of them, hence in between, as it never decreases.
How much smaller k may be is measured on the hardest data, a simplex: the k / d at which half of the random projections
still keep lambda' > 2 mu.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import sympy as sp
import z3
from flint import arb

from cgro.claims.balls import Ball, precision
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, nearest_opposite_distances
from cgro.memorizers.projection_bounds import projected_dim

Law = Callable[[int, int, float], int]


def union_bound_is_one() -> bool:
    """(N^2 / 4) exp(-(k/2) r) at k = 4 ln(N/2) / r is 1, and its derivative in k is negative."""
    N, k, r = sp.symbols("N k r", positive=True)
    chance = N**2 / 4 * sp.exp(-k / 2 * r)
    return bool(sp.simplify(chance.subs(k, 4 * sp.log(N / 2) / r) - 1) == 0 and sp.diff(chance, k).is_negative)


def stretched(stretch: float, square: float) -> Decision:
    """rho'^2 <= square, with rho' lambda' = rho lambda, lambda'^2 >= k lambda^2 / (2 d) and k >= stretch rho^2 d."""
    k, d, q, lam, projected = z3.Reals("k d rho^2 lambda^2 lambda'^2")
    given = (k > 0, d > 0, q > 0, lam > 0, projected * 2 * d >= k * lam, k >= stretch * q * d)
    return prove(q * lam <= square * projected, *given)


def rounding_errors(largest: int, law: Law) -> list[int]:
    """N at which the library's k is not the smallest integer above 4 ln(N/2) / (ln 2 - 1/2): at both ends of each k."""
    wrong, k, last = [], 0, 1
    # Enough bits to tell the integer part of 2 exp(..), at most 10^15, unless it is within 2^-60 of an integer.
    with precision(128):
        rate = arb(2).log() - arb("0.5")
        while last < largest:
            k += 1
            before, last = last, int((2 * (rate * k / 4).exp()).floor().unique_fmpz())
            # N from before + 1 to last need k; d and rho are such that only the pairs matter.
            ends = {before + 1, last} if last > before else set()
            wrong += [N for N in sorted(ends) if law(N, 10**9, 1e-9) != k]
    return wrong


def check(
    *,
    largest: int = 1_000_000,
    trials: int = 3,
    seed: int = 0,
    law: Law = projected_dim,
    stretch: float = 4.0,
    square: float = 0.5,
    pairs: float = 20.8,
) -> Finding:
    """The union bound and the stretch for all N, d and rho, the library's k, and what random projections allow.

    Args:
        largest: largest N for which the library's rounding is checked.
        trials: random projections of a simplex for each dimension tried.
        seed: seed of the projections.
        stretch: claimed factor of rho^2 d.
        square: claimed bound of the squared projected ratio.
        pairs: claimed factor of ln(N/2).
    """
    union, factor = union_bound_is_one(), stretched(stretch, square)
    enough: Ball = pairs * (arb(2).log() - arb("0.5"))
    wrong_at = rounding_errors(largest, law)
    short = next(
        (
            (N, d, rho)
            for N in (10, 1000, 10**6)
            for d in (5, 30, 200, 10_000)
            for rho in (0.01, 0.1, 0.3, 0.49, 0.9)
            if law(N, d, rho) < min(d, 4 * rho**2 * d - 1e-6)
        ),
        None,
    )
    wrong = [f"N = {wrong_at[0]}: {law(wrong_at[0], 10**9, 1e-9)} dimensions"] if wrong_at else []
    wrong += [factor.counterexample] if factor.holds is False else []
    wrong += [] if enough >= 4 else [f"{pairs:g} ln(N/2) dimensions: the union bound exceeds 1"]
    wrong += [f"(N, d, rho) = {short}: fewer than 4 rho^2 d"] if short else []
    holds = False if wrong or not union else factor.holds
    asked = law(64, 63, 0.3)
    return Finding(
        holds=holds,
        slack=max(float(enough / 4), 1.0) if holds else 0.0,
        tested=f"all N, d, rho; the library's k for every N up to {largest:,}; simplex of 64 points, rho = .3",
        bound="probability of failure < 1, rho'^2 <= 1/2",
        measured=f"factor of ln(N/2) at least {float(4 / (arb(2).log() - arb('0.5'))):.4f}",
        constant=f"half of random projections of the simplex need k = {smallest_dim(64, 0.3, trials, seed)} of 63, the "
        f"bound asks {asked} and rho^2 d = {0.09 * 63:.1f}",
        counterexample=wrong[0] if wrong else "",
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


def fewer(samples: int, span: int, ratio: float) -> int:
    """5 % fewer dimensions for the pairs."""
    return min(span, max(math.ceil(4 * ratio**2 * span), math.floor(0.95 * 20.7 * math.log(samples / 2)) + 1))


CLAIM = Claim(
    statement="N points with two labels that span d dimensions: by `projection-tail`, for every k from max(4 rho^2 d, "
    "20.8 ln(N/2) + 1) to d some projection to k dimensions keeps l_2 balls apart, rho'^2 <= 1/2; if there is no such "
    "k, none is needed (k = d, rho' = rho)",
    source="construction S, with Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Prop. B.19 and B.21 as model",
    tag="[D]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "trials >= 1": lambda trials: trials >= 1,
        "2 <= largest <= 10^15": lambda largest: 2 <= largest <= 10**15,
        "factors > 0": lambda stretch, square, pairs: min(stretch, square, pairs) > 0,
    },
    deep={"trials": 51, "largest": 10**12},
    controls={
        "5 % fewer dimensions for the pairs": {"law": fewer, "trials": 1},
        "3 rho^2 d": {"stretch": 3.0, "trials": 1},
    },
    constants={
        "4 rho^2 d": Constant(
            lambda f: {"stretch": 4 * f},
            refuted=(0.95,),
            otherwise="more dimensions than needed are a weaker claim",
        ),
        "rho'^2 <= 1/2": Constant(
            lambda f: {"square": f / 2},
            refuted=(0.95,),
            otherwise="a larger projected ratio is a weaker claim",
        ),
        "20.8 ln(N/2)": Constant(
            lambda f: {"pairs": 20.8 * f},
            refuted=(0.95,),
            otherwise="more dimensions than needed are a weaker claim; 20.709 is where the union bound reaches 1",
        ),
    },
)
