"""Probabilities of trials: every seed is one, and each probability has an exact (Clopper & Pearson) interval, all of a
finding together with the stated confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cgro.claims.claim import Finding
from cgro.claims.confidence import proportion_interval
from cgro.claims.outcomes import Outcome, at_least, together

CONFIDENCE = 0.99


@dataclass(frozen=True)
class Judged:
    """The verdict on several probabilities."""

    outcome: Outcome
    intervals: Mapping[str, tuple[float, float]]
    failing: str
    """The first probability that is certainly below its bound, if one is."""

    def finding(self, *, tested: str, bound: str, measured: str, constant: str = "") -> Finding:
        """The verdict with its words."""
        return Finding(
            holds=self.outcome.holds,
            slack=self.outcome.slack,
            tested=tested,
            bound=bound,
            measured=measured,
            constant=constant,
            counterexample=self.failing,
            confidence=CONFIDENCE,
        )


def judged(successes: Mapping[str, tuple[int, float]], runs: int) -> Judged:
    """Whether probabilities are at least as large as claimed: interval inside, outside, or neither.

    successes: for each probability, in words, how many of the runs succeeded, and the claimed lower bound.
    """
    level = 1 - (1 - CONFIDENCE) / len(successes)
    intervals = {name: proportion_interval(count, runs, level) for name, (count, _) in successes.items()}
    # A bound of 0 or less holds, but has no ratio to compare with.
    outcomes = {name: at_least(*intervals[name], max(least, 1e-9)) for name, (_, least) in successes.items()}
    failing = next((name for name, outcome in outcomes.items() if outcome.holds is False), "")
    return Judged(together(*outcomes.values()), intervals, failing)


def on_both_sides(counts: Mapping[str, tuple[int, int]], runs: int, sides: tuple[str, str], event: str) -> Finding:
    """Whether an event has probability at least 1/2 on the first side of a transition, and at most 1/2 on the second.

    counts: for each setting, in how many runs it happens on either side.
    """
    successes = {}
    for name, (first, second) in counts.items():
        successes[f"{name}, at {sides[0]}"] = (first, 0.5)
        # At most half if the opposite has at least half.
        successes[f"{name}, at {sides[1]}"] = (runs - second, 0.5)
    return judged(successes, runs).finding(
        tested=f"{', '.join(counts)}; {runs} seeds on each side",
        bound=f"at least half of the runs {event} at {sides[0]}, at most half at {sides[1]}",
        measured=f"share of runs that {event}: "
        + ", ".join(
            f"{first / runs:.2f} and {second / runs:.2f} at {name}" for name, (first, second) in counts.items()
        ),
    )
