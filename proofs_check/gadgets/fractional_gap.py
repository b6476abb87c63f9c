"""The largest gap between N fractional parts, around the circle, is at least 1/N (K6), and equal spacing attains it.

The N gaps between neighbours sum to 1, so the largest is at least their mean. The grid of the small-radius memorizer
puts its faces into that gap, so that every coordinate is at least 1/(2N) away from a face. Decided for every multiset
of N multiples of 1/q.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations_with_replacement

from cgro.claims.cases import scan
from cgro.claims.claim import Claim, Finding

Law = Callable[[int], Fraction]


def smallest_gap(samples: int) -> Fraction:
    """1/N."""
    return Fraction(1, samples)


def largest_gap(parts: tuple[int, ...], q: int) -> Fraction:
    """Largest circular gap of the numbers parts / q."""
    ordered = sorted(set(parts))
    return Fraction(max(b - a for a, b in zip(ordered, [*ordered[1:], ordered[0] + q], strict=True)), q)


def check(*, largest: int = 6, denominator: int = 12, bound: Law = smallest_gap) -> Finding:
    """All multisets of fractional parts on a grid.

    Args:
        largest: largest N.
        denominator: q, fractional parts are multiples of 1/q.
    """
    q = denominator
    cases = [p for n in range(1, largest + 1) for p in combinations_with_replacement(range(q), n) if p[0] == 0]
    found = scan(cases, lambda p: (bound(len(p)), largest_gap(p, q)))
    return Finding(
        holds=found.holds,
        slack=found.slack,
        tested=f"all {found.count:,} multisets of up to {largest} multiples of 1/{q}; all others by the argument",
        bound="1/N",
        measured=f"attained by {', '.join(f'{k}/{q}' for k in found.tightest)}",
        counterexample=", ".join(f"{k}/{q}" for k in found.violation) if found.violation else "",
    )


CLAIM = Claim(
    statement="the largest circular gap between N fractional parts is at least 1/N",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Lemma B.15 (K6)",
    tag="[S]",
    evidence="exact",
    check=check,
    hypotheses={"largest >= 1": lambda largest: largest >= 1, "denominator >= 2": lambda denominator: denominator >= 2},
    deep={"largest": 8, "denominator": 24},
    controls={
        "1.2 / N": {"bound": lambda n: Fraction(6, 5 * n), "largest": 3},
        "1 / (N - 1)": {"bound": lambda n: Fraction(1, max(n - 1, 1)), "largest": 3},
    },
)
