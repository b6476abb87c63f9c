"""An inequality on many cases, from the smallest up: its slack, its tightest case, and its smallest counterexample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from cgro.claims.claim import Finding
from cgro.claims.outcomes import Outcome, exactly

C = TypeVar("C")
Number = int | float | Fraction


@dataclass(frozen=True)
class Scan(Generic[C]):
    """What a scan found."""

    count: int
    slack: float
    """Smallest bound / measured; at least 1 without a violation."""
    tightest: C
    """The case with that slack."""
    violation: C | None
    """The first case that violates the inequality."""
    violations: int

    @property
    def holds(self) -> bool:
        """Whether no case violates it."""
        return self.violations == 0

    @property
    def outcome(self) -> Outcome:
        """The scan as one part of a claim; a scan is never undecided."""
        return exactly(self.holds, self.slack)

    @property
    def counterexample(self) -> str:
        """The first violation in words; empty if there is none."""
        return "" if self.violation is None else in_words(self.violation)

    def finding(
        self,
        names: str,
        *,
        tested: str,
        bound: str,
        measured: str = "",
        proof: bool | None = True,
        constant: str = "",
        counterexample: str = "",
    ) -> Finding:
        """The finding of a scan combined with a proof: the claim holds if both do, and is undecided if the proof is.

        `names` describes a case, e.g. "(N, D)"; `counterexample` is that of the proof.
        """
        where = f"tightest at {names} = {in_words(self.tightest)}"
        return Finding(
            holds=None if proof is None else proof and self.holds,
            slack=self.slack if proof else 0.0,
            tested=tested,
            bound=bound,
            measured=f"{measured}; {where}" if measured else where,
            constant=constant,
            counterexample=counterexample if self.holds else f"{names} = {self.counterexample}",
        )


def in_words(case: object) -> str:
    """A case as a reader would write it: a fraction as 1/20, a float with four digits."""
    if isinstance(case, tuple | list):
        return f"({', '.join(in_words(part) for part in case)})"
    return f"{case:.4g}" if isinstance(case, float) else str(case)


def scan(cases: Iterable[C], measured_and_bound: Callable[[C], tuple[Number, Number]]) -> Scan[C]:
    """Check measured <= bound on every case, smallest case first, so that the first violation is the smallest.

    Comparison is exact for int and Fraction. For a lower bound return (bound, measured). NaN counts as a violation.
    Raises: ValueError if there are no cases.
    """
    count = violations = 0
    slack, tightest, violation = math.inf, None, None
    for case in cases:
        measured, bound = measured_and_bound(case)
        count += 1
        if not measured <= bound:
            violations += 1
            violation = case if violations == 1 else violation
        ratio = _slack(measured, bound)
        if tightest is None or ratio < slack or math.isnan(ratio):
            slack, tightest = ratio, case
    if tightest is None:
        raise ValueError("no case to check")
    return Scan(count, slack, tightest, violation, violations)


def _slack(measured: Number, bound: Number) -> float:
    """bound / measured, kept on its side of 1; infinite for measured <= 0 <= bound."""
    if measured <= 0:
        return math.inf if bound >= measured else 0.0
    ratio = float(bound / measured)
    return max(ratio, 1.0) if measured <= bound else min(ratio, math.nextafter(1.0, 0.0))
