"""Some projection keeps separations (K9): lambda' >= 2 (1 - a) b eps for a projection to k >= 24 ln(N) / a^2
dimensions.

eps = lambda / 2, b the median of |W u|, 0 < a < 1. With t = a b in the concentration inequality (K8), b^2 d >= k / 4,
and a union bound over the N (N-1) / 2 pairs, the probability of failure is at most

    N (N-1) / 2 * 4 exp(-a^2 k / 8) <= 2 N (N-1) N^-3 = 2 (N-1) / N^2 < 1.

The last step is decided by z3 for all integers N >= 2. K8 is decided for some pairs (k, d) only, so the failure is
enclosed without it, too: at k = ceil(24 ln(N) / a^2) of d dimensions, the number of pairs times the exact Beta tail
P[|W u| < (1 - a) b] is below 1, in ball arithmetic. Fewer dimensions are refuted by K8 only: it gives no more, while
the exact tail allows them. The smallest k that this tail allows is far smaller. All that says
what the union bound gives; projections to fewer dimensions may exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import z3

from cgro.claims.balls import Ball, ball, beta_cdf, certainly_less, quantile, scan_balls
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove

Law = Callable[[int, float], Ball]


def dimensions(samples: int, shrink: float, factor: float = 24.0, power: float = 2.0) -> Ball:
    """24 ln(N) / a^2."""
    return factor * ball(samples).log() / ball(shrink) ** ball(power)


def by_concentration(samples: int, shrink: float, dims: Ball) -> Ball:
    """The failure's bound N (N-1) / 2 * 4 exp(-a^2 k / 8)."""
    return 2 * samples * (samples - 1) * (-(ball(shrink) ** 2) * dims / 8).exp()


def by_beta(samples: int, shrink: float, k: int, dim: int) -> Ball:
    """The number of pairs times P[|W u| <= (1 - a) b], W to k of d dimensions, rounded up."""
    a, c = ball(k) / 2, ball(dim - k) / 2
    square = ball(median_above(k, dim))
    return samples * (samples - 1) * beta_cdf((1 - ball(shrink)) ** 2 * square, a, c) / 2


@cache
def median_above(k: int, dim: int) -> float:
    """A float just above the median of |W u|^2."""
    return quantile(ball(0.5), ball(k) / 2, ball(dim - k) / 2)[1]


def smallest_dim(samples: int, shrink: float, dim: int) -> int:
    """Smallest k for which the failure by the Beta tail is certainly below 1."""
    low, high = 1, dim - 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = certainly_less(lambda k: (by_beta(samples, shrink, k, dim), ball(1)), middle)
        low, high = (low, middle) if enough else (middle, high)
    return high


def check(*, largest_samples: int = 10**6, dim: int = 1000, dims: Law = dimensions) -> Finding:
    """The union bound for all N, then over N and a with the claimed k, by K8 and by the Beta tail.

    Args:
        largest_samples: largest N.
        dim: d, for the Beta tail.
    """
    N = z3.Int("N")
    proof = prove(2 * (N - 1) < N * N, N >= 2)
    sizes = [2, 3, 4, 5, *(10**e for e in range(1, 10) if 10**e <= largest_samples)]
    cases = [(n, a) for n in sizes for a in (0.01, 0.1, 0.2, 0.5, 0.9)]
    concentration = scan_balls(cases, lambda c: (by_concentration(*c, dims(*c)), ball(1)))
    ceilings = [(n, a, math.ceil(float(dims(n, a)))) for n, a in cases]
    exact = scan_balls([c for c in ceilings if c[2] < dim], lambda c: (by_beta(*c, dim), ball(1)))
    least = max(sizes, key=lambda n: 8 * math.log(2 * n * (n - 1)) / math.log(n))
    parts = (proof.holds, concentration.holds, exact.holds)
    holds = False if False in parts else None if None in parts else True
    return Finding(
        holds=holds,
        slack=min(concentration.slack, exact.slack) if holds is not None else 0.0,
        tested=f"all N >= 2; {concentration.count} pairs (N, a) by K8, {exact.count} by the Beta tail in d = {dim:,}",
        bound="probability of failure < 1",
        measured=f"tightest by K8 at (N, a) = {concentration.tightest}, by the Beta tail at {exact.tightest}",
        constant=f"by K8 24 may be {8 * math.log(2 * least * (least - 1)) / math.log(least):.4g} (N = {least}); at N = "
        f"20, a = 1/2 the Beta tail allows k = {smallest_dim(20, 0.5, dim)}, the claim asks "
        f"{math.ceil(float(dimensions(20, 0.5)))}",
        counterexample=proof.counterexample or concentration.counterexample or exact.counterexample,
    )


CLAIM = Claim(
    statement="by K8, b >= sqrt(k/d) / 2 and a union bound, lambda' >= 2 (1 - a) b eps for some projection of N >= 2 "
    "points to k of d dimensions, 24 ln(N) / a^2 <= k <= d, 0 < a < 1",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, appendix B (K9)",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={
        "largest_samples >= 2": lambda largest_samples: largest_samples >= 2,
        "dim >= 100": lambda dim: dim >= 100,
    },
    deep={"largest_samples": 10**9, "dim": 10_000},
    constants={
        "24": Constant(
            lambda factor: {"dims": lambda n, a: dimensions(n, a, 24 * factor)},
            refuted=(),
            otherwise="loose: the finding prints the factor that K8 needs, and the k that the Beta tail needs; larger "
            "is weaker",
        ),
        "a^2": Constant(
            lambda factor: {"dims": lambda n, a: dimensions(n, a, power=2 * factor)},
            refuted=(0.95,),
            otherwise="weaker, as a < 1",
        ),
        "sqrt(k/d) / 2": Constant(None, refuted=(), otherwise="what K8 is used with; see check norm-concentration"),
        "2 (1 - a)": Constant(
            None, refuted=(), otherwise="the meaning of a: separations shrink to 1 - a times the median, 2 eps = lambda"
        ),
    },
    controls={
        "12 instead of 24, by K8": {"dims": lambda n, a: dimensions(n, a, 12)},
        "18 instead of 24, by K8": {"dims": lambda n, a: dimensions(n, a, 18)},
        "a instead of a^2": {"dims": lambda n, a: dimensions(n, a, power=1)},
    },
)
