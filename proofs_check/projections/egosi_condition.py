"""Small radii survive a projection to few dimensions (K17): rho <= sqrt((k-6)/d) N^(-2/(k-6)) / (4 sqrt e) suffices,
7 <= k < d.

A projection W keeps the balls apart if |W u| > rho for the directions u of all pairs with different labels, at most N
(N-1) / 2. |W u|^2 is Beta(k/2, (d-k)/2), so that by a union bound one exists as soon as N (N-1) / 2 P[|W u| <= rho] <
1. With rho^2 = beta k / d the tail of a projection (`projection-tail`) is at most (e beta)^(k/2), and

    e beta = (1 - 6/k) N^(-4/(k-6)) / 16,   so that   N^2 (e beta)^(k/2) <= 4^-k N^(2 - 2 k/(k-6)) <= 4^-k,

decided by z3 for all N and 7 <= k < d. That proof does not need the 4: the condition is loose. How many times larger
rho might be is measured with exact tails, enclosed in ball arithmetic. Random points are then projected to k dimensions
at the largest rho, and memorized there with a certified network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import z3

from cgro.base.errors import UserError
from cgro.certify.structural import structural_margins
from cgro.claims.balls import Ball, ball, beta_cdf, certainly_less, quantile
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.claims.symbolic import Decision
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.memorizers.constructions import memorize

Law = Callable[[int, int, int], Ball]


def largest_ratio(
    samples: int, dim: int, projected: int, *, four: float = 4.0, six: float = 6.0, two: float = 2.0
) -> Ball:
    """sqrt((k-6)/d) N^(-2/(k-6)) / (4 sqrt e)."""
    more = ball(projected) - six
    return (more / dim).sqrt() * ball(samples) ** (-two / more) / (four * ball(0.5).exp())


def failure(samples: int, dim: int, projected: int, ratio: Ball) -> Ball:
    """N (N-1) / 2 P[|W u| <= rho]."""
    return samples * (samples - 1) * beta_cdf(ratio**2, ball(projected) / 2, ball(dim - projected) / 2) / 2


def for_all() -> Decision:
    """N^2 / 2 (e beta)^(k/2) < 1 for all N >= 1 and k >= 7, in logarithms."""
    k, n, share, two, sixteen = z3.Reals("k ln(N) ln(k/(k-6)) ln(2) ln(16)")
    exponent = share + sixteen + 4 * n / (k - 6)
    # Logarithms of numbers of at least 1 are not negative, whatever they are.
    return prove(2 * n - two < k * exponent / 2, k >= 7, n >= 0, share >= 0, two > 0, sixteen > 0)


def sufficient_ratio(samples: int, dim: int, projected: int) -> float:
    """A rho, rounded down, at which the union bound reaches 1."""
    share = ball(2) / (samples * (samples - 1))
    return math.sqrt(quantile(share, ball(projected) / 2, ball(dim - projected) / 2)[0])


def memorized(samples: int, dim: int, projected: int, ratio: float, seed: int) -> bool:
    """Whether random points are memorized at that ratio after a projection to k dimensions, with a certificate."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(samples, dim)), np.where(np.arange(samples) % 2, 1, -1)
    radius = ratio * opposite_separation(LabelledPoints(x, y), "2").distance / 2
    try:
        built = memorize(x, y, "2", radius, construction="projected_ball_sum", dim=projected)
    except UserError:
        return False
    return bool((structural_margins(built) > 0).all()) and built.float_network.widths[0] == projected


def check(*, largest_samples: int = 1000, networks: int = 3, ratio: Law = largest_ratio) -> Finding:
    """The union bound at the largest rho, and built networks.

    Args:
        largest_samples: largest N.
        networks: random data sets memorized after a projection.
    """
    sizes = [n for n in (3, 10, 100, 1000, 10**4, 10**6) if n <= largest_samples]
    cases = [(n, d, k) for n in sizes for d in (8, 16, 64, 256, 4096) for k in (7, 8, 10, 20, 50, 200) if k < d]
    wrong, unsure, factors = [], 0, {}
    for case in cases:
        below = certainly_less(lambda n, d, k: (failure(n, d, k, ratio(n, d, k)), ball(1)), *case)
        unsure += below is None
        wrong += [case] if below is False else []
        factors[case] = sufficient_ratio(*case) / float(ratio(*case))
    tightest = min(factors, key=lambda case: factors[case])
    many = [factors[n, d, k] for n, d, k in cases if k >= 4 * math.log(n) + 6]
    built = [memorized(24, 64, k, float(ratio(24, 64, k)), seed) for seed in range(networks) for k in (8, 16)]
    proof = for_all()
    holds = False if wrong or not all(built) else None if unsure else proof.holds
    return Finding(
        holds=holds,
        slack=max(factors[tightest], 1.0) if holds else min(factors[tightest], 0.99),
        tested=f"all N and 7 <= k < d by the tail of `projection-tail`; exact tails for {len(cases)} triples, N up to "
        f"{sizes[-1]:,}, d up to 4,096; {len(built)} networks, N = 24, d = 64",
        bound="rho at which the exact union bound reaches 1",
        measured=f"tightest at (N, d, k) = {tightest}; {sum(built)} of {len(built)} networks certified",
        constant=f"rho may be {factors[tightest]:.3g} times larger, up to {max(many):.3g} times for k >= 4 ln N + 6",
        counterexample=str(wrong[0]) if wrong else "" if all(built) else "a data set that is not memorized",
    )


LOOSE = (
    "loose: rho may be five times larger and more, as the finding prints; the condition simplifies the volume of a cap"
)
CLAIM = Claim(
    statement="rho <= sqrt((k-6)/d) N^(-2/(k-6)) / (4 sqrt e) lets a projection to k dimensions, 7 <= k < d, keep l_2 "
    "balls of N points in R^d apart, by `projection-tail` and a union bound",
    source="Egosi, Yehudai & Shamir, COLT 2025, arXiv:2502.11162, Theorem 4.4, as quoted by Kim, Moon & Yun (K17)",
    tag="[N]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "largest_samples >= 3": lambda largest_samples: largest_samples >= 3,
        "networks >= 1": lambda networks: networks >= 1,
    },
    deep={"largest_samples": 10**6, "networks": 20},
    constants={
        "4": Constant(
            lambda factor: {"ratio": lambda n, d, k: largest_ratio(n, d, k, four=4 * factor)},
            refuted=(),
            otherwise=LOOSE,
        ),
        "6 in k-6": Constant(
            lambda factor: {"ratio": lambda n, d, k: largest_ratio(n, d, k, six=6 * factor)},
            refuted=(),
            otherwise=LOOSE,
        ),
        "2 in N^(-2/(k-6))": Constant(
            lambda factor: {"ratio": lambda n, d, k: largest_ratio(n, d, k, two=2 * factor)},
            refuted=(),
            otherwise=LOOSE,
        ),
        "7 <= k": Constant(None, refuted=(), otherwise="the first k for which k - 6 is positive"),
    },
    controls={
        "sqrt((k-6)/d) without the power of N": {"ratio": lambda n, d, k: (ball(k - 6) / d).sqrt()},
        "6 times larger": {"ratio": lambda n, d, k: 6 * largest_ratio(n, d, k)},
    },
)
