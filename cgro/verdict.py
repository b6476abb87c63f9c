"""What a check says of a claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Evidence = Literal["symbolic", "exact", "interval", "statistical", "asymptotic", "numerical"]
Tag = Literal["[S]", "[N]", "[R]", "[D]", "[M]"]


@dataclass(frozen=True)
class Verdict:
    """A claim, what was found, and whether it holds."""

    claim: str
    """The statement, in one line."""
    source: str
    """Paper and number."""
    tag: Tag
    """How sure the source is: stated, from notes, recalled, derived here, measured."""
    evidence: Evidence
    """Kind of evidence."""
    bound: str
    """The bound, computed from the formula."""
    measured: str
    """The value measured or proved."""
    slack: float
    """How far the measured value is inside the bound: bound over measured, or tolerance over deviation; above 1
    holds."""
    holds: bool
    """The verdict."""
