"""How far the constants of a claim can be moved before its check refutes it.

A check that accepts a constant 5 % off does not know that constant. `refutes` moves one; `smallest_refuted` finds the
smallest move on either side that is refuted.
"""

from __future__ import annotations

from typing import Literal

from cgro.claims.claim import Claim, Constant

MOVES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Moves tried, as shares of the constant: up by each, and down by each below 1."""
Preset = Literal["quick", "deep"]


def refutes(claim: Claim, constant: Constant, factor: float, preset: Preset) -> bool:
    """Whether the check refutes the claim with this constant multiplied by `factor`.

    Raises: ValueError for a constant that cannot be moved.
    """
    if constant.moved is None:
        raise ValueError("the constant cannot be moved")
    return claim.check(**claim.preset(preset) | dict(constant.moved(factor))).holds is False


def smallest_refuted(claim: Claim, constant: Constant, preset: Preset) -> tuple[float | None, float | None]:
    """The factors nearest to 1, below and above it, at which the claim is refuted; None if none of `MOVES` is."""
    if constant.moved is None:
        return None, None
    below = (1 - move for move in MOVES if move < 1)
    above = (1 + move for move in MOVES)
    first = [next((f for f in side if refutes(claim, constant, f, preset)), None) for side in (below, above)]
    return first[0], first[1]
