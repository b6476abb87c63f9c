"""Comparisons of real numbers that are known as balls, intervals around a midpoint that contain the truth.

Arithmetic is python-flint's `arb`: every operation encloses the true value, special functions included. A comparison
that the balls do not decide is repeated with more bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

from flint import arb, ctx, fmpq

from cgro.claims.cases import in_words
from cgro.claims.outcomes import Outcome, exactly

Ball = Any
"""A flint.arb."""
C = TypeVar("C")
BITS = (64, 128, 256, 512)
"""Precisions that a comparison tries."""


def ball(value: float | Fraction) -> Ball:
    """The ball of a number: exact for int and float, one rounding for fractions."""
    return arb(fmpq(value.numerator, value.denominator)) if isinstance(value, Fraction) else arb(value)


def beta_cdf(x: Ball, a: Ball, b: Ball) -> Ball:
    """P[X <= x] of a Beta(a, b) variable, 0 <= x <= 1: the regularized incomplete beta function.

    With k = 2 a of d = 2 (a + b) dimensions it is the law of |W u|^2, W a random projection and |u| = 1.
    """
    x, a, b = ball(x), ball(a), ball(b)
    value = x.beta_lower(a, b, 1)
    # Where the series fails, near 1, that of the complement may not.
    return value if value.is_finite() else 1 - (1 - x).beta_lower(b, a, 1)


def beta_sf(x: Ball, a: Ball, b: Ball) -> Ball:
    """P[X >= x], without the cancellation of 1 - P[X <= x]."""
    return beta_cdf(1 - ball(x), b, a)


def quantile(share: Ball, a: Ball, b: Ball) -> tuple[float, float]:
    """Floats low < high around the x with P[X <= x] = share for a Beta(a, b) variable, close to each other."""
    low, high = 0.0, 1.0
    while high - low > 1e-9 * high:
        # A second place to cut, where the first is the quantile itself.
        for part in (0.5, 0.49):
            middle = low + part * (high - low)
            below = certainly_less(lambda x: (beta_cdf(x, a, b), share), middle)
            if below is not None:
                break
        if below is None or not low < middle < high:
            break
        low, high = (middle, high) if below else (low, middle)
    return low, high


@contextmanager
def precision(bits: int) -> Iterator[None]:
    """Arithmetic with that many bits inside the block."""
    before = ctx.prec
    ctx.prec = bits
    try:
        yield
    finally:
        ctx.prec = before


def certainly_less(sides: Callable[..., tuple[Ball, Ball]], *arguments: Any) -> bool | None:
    """Whether left <= right, (left, right) = sides(*arguments), which are computed again with more bits if need be.

    Returns: None if the balls still overlap.
    """
    for bits in BITS:
        with precision(bits):
            left, right = sides(*arguments)
            if left <= right:
                return True
            if left > right:
                return False
    return None


@dataclass(frozen=True)
class BallScan(Generic[C]):
    """What a scan of an inequality between balls found."""

    count: int
    slack: float
    """Smallest bound / measured; at least 1 if no case violates the inequality."""
    tightest: C
    violation: C | None
    """The first case that certainly violates the inequality."""
    undecided: int

    @property
    def holds(self) -> bool | None:
        """None: some case is undecided, and none violates the inequality."""
        return False if self.violation is not None else None if self.undecided else True

    @property
    def outcome(self) -> Outcome:
        """The scan as one part of a claim."""
        slack = self.slack if self.holds is not None else math.nan
        return Outcome(self.holds, slack)

    @property
    def counterexample(self) -> str:
        """The first violation in words; empty if there is none."""
        return "" if self.violation is None else in_words(self.violation)


def scan_balls(cases: Iterable[C], measured_and_bound: Callable[[C], tuple[Ball, Ball]]) -> BallScan[C]:
    """Decide measured <= bound, both positive, on every case, smallest case first.

    Raises: ValueError if there are no cases.
    """
    count = undecided = 0
    slack, tightest, violation = math.inf, None, None
    for case in cases:
        count += 1
        holds = certainly_less(measured_and_bound, case)
        undecided += holds is None
        if holds is False and violation is None:
            violation = case
        measured, bound = measured_and_bound(case)
        ratio = float(bound / measured) if measured > 0 else math.inf
        ratio = exactly(holds is True, ratio).slack
        if tightest is None or ratio < slack:
            slack, tightest = ratio, case
    if tightest is None:
        raise ValueError("no case to check")
    return BallScan(count, slack, tightest, violation, undecided)
