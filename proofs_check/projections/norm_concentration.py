"""The norm of a projected unit vector concentrates (K8): P[| |W u| - b | >= t] <= 4 exp(-t^2 d / 2), b its median.

W projects onto a random k-dimensional subspace of R^d; |W u|^2 is Beta(k/2, (d-k)/2), so median and tail are
incomplete beta functions, enclosed by ball arithmetic. For each pair (k, d) the tail is decided for all t: it falls
with t, so that on [s, t] the tail at s against the bound at t suffices; intervals that are too long are halved. Beyond
t = 1 the tail is 0. The median is enclosed by bisection; b >= sqrt(k / d) / 2, which the paper needs for k >= 10 ln d,
holds for every pair tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from cgro.claims.balls import Ball, ball, beta_cdf, beta_sf, certainly_less, quantile, scan_balls
from cgro.claims.claim import Claim, Constant, Finding

Law = Callable[[float, int], Ball]
FAR = 10**6
"""Dimension in which the exponent is sharp: with k = 1, |W u| sqrt(d) is close to |g|, g a standard normal variable,
whose tail is about exp(-t^2 d / 2) far from 0."""
SHORTEST = 2.0**-12
"""Length at which an interval of t is no longer halved."""


def tail_bound(t: float, d: int, factor: float = 4.0, rate: float = 0.5, power: float = 2.0) -> Ball:
    """4 exp(-t^2 d / 2)."""
    return factor * (-(ball(t) ** ball(power)) * d * rate).exp()


def tail(t: float, k: int, d: int, median: tuple[float, float]) -> Ball:
    """Upper bound of P[| |W u| - b | >= t] for b^2 between the two numbers of `median`."""
    a, c = ball(k) / 2, ball(d - k) / 2
    low, high = ball(median[0]).sqrt(), ball(median[1]).sqrt()
    below = beta_cdf((high - t) ** 2, a, c) if high - t > 0 else ball(0)
    above = beta_sf((low + t) ** 2, a, c) if low + t < 1 else ball(0)
    return below + above


def first_uncovered(k: int, d: int, median: tuple[float, float], bound: Law) -> float | None:
    """The smallest t in [0, 1] at which the tail is not below the bound, as far as it can be told; None if it is for
    all t."""
    pieces = [(0.0, 1.0)]
    while pieces:
        s, t = pieces.pop()
        if certainly_less(lambda s, t: (tail(s, k, d, median), bound(t, d)), s, t):
            continue
        if t - s < SHORTEST:
            return t
        pieces += [((s + t) / 2, t), (s, (s + t) / 2)]
    return None


def check(*, largest_dim: int = 30, bound: Law = tail_bound, half: float = 0.5) -> Finding:
    """The tail for all t, and the median, for pairs (k, d).

    Args:
        largest_dim: largest dimension d.
        half: claimed lower bound of the median over sqrt(k / d).
    """
    dims = [d for d in (2, 3, 4, 6, 10, 30, 100, 1000, 10000) if d <= largest_dim]
    pairs = [(k, d) for d in dims for k in sorted({1, 2, 3, math.isqrt(d), d // 4, d // 2, d - 1}) if 1 <= k < d]
    medians = {(k, d): quantile(ball(0.5), ball(k) / 2, ball(d - k) / 2) for k, d in pairs}
    where = {pair: first_uncovered(*pair, medians[pair], bound) for pair in pairs}
    wrong = [(k, d, t) for (k, d), t in where.items() if t is not None]
    beyond = [c for c in wrong if certainly_less(lambda k, d, t: (bound(t, d), tail(t, k, d, medians[k, d])), *c)]
    medians[1, FAR] = quantile(ball(0.5), ball(1) / 2, ball(FAR - 1) / 2)
    points = [(k, d, i / 32) for k, d in pairs for i in range(32)]
    points += [(1, FAR, s / math.sqrt(FAR)) for s in (1, 10, 40)]
    sampled = scan_balls(points, lambda c: (tail(c[2], c[0], c[1], medians[c[0], c[1]]), bound(c[2], c[1])))
    median = scan_balls(pairs, lambda p: (half * (ball(p[0]) / p[1]).sqrt(), ball(medians[p][0]).sqrt()))
    failed = bool(beyond) or sampled.holds is False or median.holds is False
    holds = False if failed else None if wrong or None in (sampled.holds, median.holds) else True
    slack = min(sampled.slack, median.slack)
    return Finding(
        holds=holds,
        slack=slack if holds or (failed and slack < 1) else 0.0,
        tested=f"{len(pairs)} pairs (k, d), d up to {dims[-1]:,}, for all t; three t at k = 1, d = {FAR:,}",
        bound=f"4 exp(-t^2 d / 2); median >= {half:g} sqrt(k / d)",
        measured=f"tail tightest near (k, d, t) = {sampled.tightest}, median at (k, d) = {median.tightest}",
        constant=f"4 may be {4 / max(sampled.slack, 1e-9):.3g}; the median is at least {half * median.slack:.3g} "
        "sqrt(k / d)",
        counterexample=sampled.counterexample or (str(beyond[0]) if beyond else median.counterexample),
    )


CLAIM = Claim(
    statement="P[| |W u| - b | >= t] <= 4 exp(-t^2 d / 2), W a random projection to k < d dimensions, b the "
    "median, b >= sqrt(k / d) / 2, for the pairs (k, d) tested",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, appendix B (K8)",
    tag="[D]",
    evidence="interval",
    check=check,
    hypotheses={"largest_dim >= 2": lambda largest_dim: largest_dim >= 2},
    deep={"largest_dim": 10_000},
    constants={
        "4": Constant(
            lambda factor: {"bound": lambda t, d: tail_bound(t, d, 4 * factor)},
            refuted=(),
            otherwise="loose: the finding prints what would do, 1, which t = 0 needs; 4 comes from isoperimetry, for "
            "all 1-Lipschitz functions",
        ),
        "t^2 d / 2": Constant(
            lambda factor: {"bound": lambda t, d: tail_bound(t, d, rate=0.5 * factor)},
            refuted=(1.05,),
            otherwise="weaker: a smaller rate",
        ),
        "exponent 2 of t": Constant(
            lambda factor: {"bound": lambda t, d: tail_bound(t, d, power=2 * factor)},
            refuted=(0.95,),
            otherwise="weaker, as t <= 1",
        ),
        "sqrt(k / d) / 2": Constant(
            lambda factor: {"half": 0.5 * factor},
            refuted=(),
            otherwise="loose: the finding prints the share of sqrt(k / d) that the median reaches, least at k = 1",
        ),
    },
    controls={
        "exponent t^2 d": {"bound": lambda t, d: tail_bound(t, d, rate=1.0)},
        "median at least 0.75 sqrt(k / d)": {"half": 0.75},
        "0.9 in place of 4": {"bound": lambda t, d: tail_bound(t, d, 0.9)},
    },
)
