"""Inequalities proved on a box of real parameters by outward-rounded interval arithmetic, with bisection where the
bounds are too coarse.

The arithmetic is mpmath's `iv`: the function receives intervals and must use `mpmath.iv` for exp, log, sqrt, pi and
so on.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mpmath import iv, mp

Box = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class BoxProof:
    """proved: f > 0 on the whole box. refuted: certainly f < 0 at `point`. undecided: too many pieces."""

    outcome: Literal["proved", "refuted", "undecided"]
    pieces: int
    smallest: float
    """If proved, a lower bound of f on the box; if refuted, an upper bound of f at the point."""
    point: tuple[float, ...] | None = None

    @property
    def holds(self) -> bool | None:
        """As `Finding.holds`."""
        return {"proved": True, "refuted": False, "undecided": None}[self.outcome]


def prove_positive(function: Callable[..., Any], box: Sequence[tuple[float, float]], *, most: int = 20_000) -> BoxProof:
    """Whether function(*intervals) > 0 on the box, with at most `most` pieces.

    The piece with the lowest bound is halved along its longest side, relative to the box. The midpoint of each piece
    is evaluated, too, and a value that is certainly negative refutes the claim.
    """
    start: Box = tuple((float(a), float(b)) for a, b in box)
    widths = [b - a or 1.0 for a, b in start]
    heap = [(_low(function, start), start)]
    pieces, proved = 1, float("inf")
    while heap:
        low, piece = heapq.heappop(heap)
        if low > 0:
            # The lowest bound of all remaining pieces is positive.
            return BoxProof("proved", pieces, min(low, proved))
        middle = tuple((a + b) / 2 for a, b in piece)
        value = function(*(iv.mpf([x, x]) for x in middle))
        if value.b < 0:
            return BoxProof("refuted", pieces, float(value.b), middle)
        if pieces >= most:
            return BoxProof("undecided", pieces, low, middle)
        k = max(range(len(piece)), key=lambda k: (piece[k][1] - piece[k][0]) / widths[k])
        a, b = piece[k]
        for side in ((a, middle[k]), (middle[k], b)):
            part = (*piece[:k], side, *piece[k + 1 :])
            heapq.heappush(heap, (_low(function, part), part))
            pieces += 1
    return BoxProof("proved", pieces, proved)


def _low(function: Callable[..., Any], piece: Box) -> float:
    value = function(*(iv.mpf([a, b]) for a, b in piece))
    low = mp.mpf(value.a)
    return float("-inf") if mp.isnan(low) else float(low)
