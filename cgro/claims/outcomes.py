"""Three outcomes of comparing an interval with a claim: if it meets both the claim and its negation, it is
undecided."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What an interval that contains the truth, with some confidence, says about a claim."""

    holds: bool | None
    """True: all of the interval obeys the claim. False: none of it does. None: some of it does."""
    slack: float
    """As `Finding.slack`: at least 1 if and only if `holds` is True."""


def within(low: float, high: float, claimed: float, tolerance: float) -> Outcome:
    """|x - claimed| <= tolerance for x in [low, high]; the slack is the tolerance over the decisive deviation."""
    farthest = max(abs(low - claimed), abs(high - claimed))
    nearest = max(low - claimed, claimed - high, 0.0)
    holds = True if farthest <= tolerance else False if nearest > tolerance else None
    return _outcome(holds, tolerance, nearest if holds is False else farthest)


def at_least(low: float, high: float, bound: float) -> Outcome:
    """x >= bound > 0 for x in [low, high]; the slack is the decisive end over the bound."""
    holds = True if low >= bound else False if high < bound else None
    return _outcome(holds, high if holds is False else low, bound)


def at_most(low: float, high: float, bound: float) -> Outcome:
    """x <= bound, both positive, for x in [low, high]; the slack is the bound over the decisive end."""
    holds = True if high <= bound else False if low > bound else None
    return _outcome(holds, bound, low if holds is False else high)


def together(*outcomes: Outcome) -> Outcome:
    """A claim of several parts fails if one of them fails, and holds if all do; the slack is the smallest among the
    decisive parts."""
    holds = None
    if any(o.holds is False for o in outcomes):
        holds = False
    elif all(o.holds is True for o in outcomes):
        holds = True
    return Outcome(holds, min(o.slack for o in outcomes if o.holds is holds))


def exactly(holds: bool, slack: float) -> Outcome:
    """A part that is known without an interval."""
    return Outcome(holds, max(slack, 1.0) if holds else min(slack, math.nextafter(1.0, 0.0)))


def _outcome(holds: bool | None, top: float, bottom: float) -> Outcome:
    ratio = top / bottom if bottom > 0 else math.inf
    # Rounding of the ratio must not contradict the verdict.
    return Outcome(holds, max(ratio, 1.0) if holds else max(0.0, min(ratio, math.nextafter(1.0, 0.0))))
