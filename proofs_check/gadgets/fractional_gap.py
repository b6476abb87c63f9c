"""The largest gap between N fractional parts, around the circle, is at least 1/N (K6), and equal spacing attains it.

The N gaps between neighbours sum to 1. Were each below 1/N, the first k of them would sum to less than k/N for every k,
by induction (z3, for all real gaps): a contradiction at k = N. Equal spacing has all gaps 1/N, so the largest is no
more. The grid of the small-radius memorizer puts its faces into that gap, so that every coordinate is at least 1/(2N)
away from a face; for the library's grid this is verified on all multisets of N multiples of 1/q.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import z3

from cgro.claims.cases import Scan, scan
from cgro.claims.claim import Claim, Constant, Finding
from cgro.claims.solver import prove
from cgro.data.separation import LabelledPoints
from cgro.memorizers.cells import fit_grid

Law = Callable[[int], Fraction | float]


def smallest_gap(samples: int) -> Fraction:
    """1/N."""
    return Fraction(1, samples)


def largest_gap(parts: tuple[int, ...], q: int) -> Fraction:
    """Largest circular gap of the numbers parts / q."""
    ordered = sorted(set(parts))
    return Fraction(max(b - a for a, b in zip(ordered, [*ordered[1:], ordered[0] + q], strict=True)), q)


def gaps_sum_to_less() -> bool:
    """If the first k gaps sum to less than k/N, and the next is below 1/N, then k + 1 gaps to less than (k+1)/N."""
    total, bound, gap, share = z3.Reals("total bound gap share")
    return prove(total + gap < bound + share, total < bound, gap < share).holds is True


def room(parts: tuple[int, ...], q: int) -> Fraction:
    """Distance of the points to the faces of the library's grid, in cells: label 0 at k / q, label 1 one cell up.

    Multiples of a power of two, so that all are exact; cells are a little smaller than the separation, which is 1.
    """
    points = np.array([*(k / q for k in parts), max(parts) / q + 1.0])[:, None]
    return fit_grid(LabelledPoints(points, np.array([0] * len(parts) + [1]))).room


def check(*, largest: int = 4, denominator: int = 16, bound: Law = smallest_gap) -> Finding:
    """The induction; all multisets of fractional parts on a grid; equal spacing.

    Args:
        largest: largest N.
        denominator: q, a power of two: fractional parts are multiples of 1/q.
    """
    q = denominator
    proved = gaps_sum_to_less()
    cases = [p for n in range(1, largest + 1) for p in combinations_with_replacement(range(q), n) if p[0] == 0]
    found = scan(cases, lambda p: (bound(len(p)), largest_gap(p, q)))
    # Equal spacing: the largest gap is 1/N itself.
    equal = scan(range(1, 50), lambda n: (largest_gap(tuple(range(n)), n), bound(n)))
    # The last point has the fractional part of another one, but for the size of cells.
    rooms = scan(cases[:: max(1, len(cases) // 100)], lambda p: (bound(len(p) + 1) / 2, room(p, q)))
    scans: dict[str, Scan[Any]] = {"multiples": found, "equal spacing, N": equal, "the library's grid": rooms}
    wrong = next((f"{name} = {s.counterexample}" for name, s in scans.items() if not s.holds), "")
    return Finding(
        holds=proved and not wrong,
        slack=min(s.slack for s in scans.values()) if proved else 0.0,
        tested=f"all N and gaps by induction; {found.count:,} multisets of up to {largest} multiples of 1/{q}; equal "
        f"spacing, N = 1 to 49; {rooms.count} grids",
        bound="1/N, attained by equal spacing",
        measured=f"smallest largest gap at {', '.join(f'{k}/{q}' for k in found.tightest)}",
        counterexample=wrong,
    )


CLAIM = Claim(
    statement="the largest circular gap between N fractional parts is at least 1/N, which equal spacing attains",
    source="Kim, Moon & Yun, NeurIPS 2025, arXiv:2510.24643, Lemma B.15 (K6)",
    tag="[S]",
    evidence="symbolic",
    check=check,
    hypotheses={
        "2 <= largest": lambda largest: largest >= 2,
        "denominator is a power of two, >= 2": lambda denominator: (
            denominator >= 2 and denominator & (denominator - 1) == 0
        ),
    },
    deep={"largest": 6, "denominator": 16},
    constants={
        "1/N": Constant(lambda factor: {"bound": lambda n: factor / n}),
        "N^-1": Constant(lambda factor: {"bound": lambda n: float(n) ** -factor}),
    },
    controls={
        "1.2 / N": {"bound": lambda n: Fraction(6, 5 * n), "largest": 3},
        "1 / (N - 1)": {"bound": lambda n: Fraction(1, max(n - 1, 1)), "largest": 3},
    },
)
