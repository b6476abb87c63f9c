"""What the page of figures and tables says: a row for each of them, and tables with published numbers.

Tags of published numbers and statements: [S] stated in a source that was read, [N] from notes about the paper, [R]
recalled, [M] measured with the authors' own program, [read] read in the text of the paper. No number has the tag [R]:
what is only recalled is not printed as the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

UNVERIFIED = "number not verified"


@dataclass(frozen=True)
class Entry:
    """A figure or table of a paper."""

    place: str
    """Its number in the paper, or `UNVERIFIED`."""
    shows: str
    published: str
    """What the paper reports, with a tag; "-" where nothing is at hand."""
    stem: str = ""
    """The stored result that it is compared with; empty if it is not reproduced."""
    picture: str = ""
    """The picture of the result, if there is one, by its name without the ending."""
    measured: Callable[[], str] = lambda: "-"
    difference: str = ""
    """How both differ, or why the figure is not reproduced."""
    kind: str = "measurement"
    """measurement, or statement: an illustration, or a bound, that a check decides."""

    @property
    def status(self) -> str:
        if self.stem:
            return "measured here" if self.kind == "measurement" else "built and counted"
        return "checked" if self.kind == "statement" else "not reproduced"


@dataclass(frozen=True)
class Comparison:
    """A table of a paper beside what was measured here."""

    about: str
    header: Sequence[str]
    rows: Callable[[], list[list[str]]]


@dataclass(frozen=True)
class Paper:
    """A source paper."""

    title: str
    reference: str
    about: str
    """What was at hand of it."""
    entries: Sequence[Entry]
    tables: Sequence[Comparison] = field(default_factory=tuple)
