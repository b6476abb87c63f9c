"""The parts of every experiment: a frozen `Config`, a pure `run(config, context)`, and cells of work.

A cell is a frozen dataclass that names one piece of work completely; a cell function turns it into a Dataset.
`run` asks its context to `map` a cell function over cells. The context decides where the cells are computed
and whether finished ones are remembered; `run` itself neither reads nor writes files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import xarray as xr

Tick = Callable[[float], None]
"""Progress callback of a cell function: call it with the units of work just done."""


@dataclass(frozen=True)
class Progress:
    """A tick of a cell whose unfinished work may be kept in the folder `scratch`, to be resumed from there.

    The context removes the folder when the cell is finished.
    """

    report: Callable[[float], object]
    scratch: Path

    def __call__(self, done: float) -> None:
        self.report(done)


def scratch_of(tick: Tick) -> Path | None:
    """Folder for unfinished work of the cell; None: nothing is saved."""
    return tick.scratch if isinstance(tick, Progress) else None


class Cell(Protocol):
    """One piece of work, named completely by its (JSON-able) dataclass fields."""

    @property
    def work(self) -> float:
        """Units of work in this cell, the total that its function will report to `tick`."""


C = TypeVar("C", bound=Cell)
CellFunction = Callable[[C, Tick], xr.Dataset]


class Context(Protocol):
    """The services that a run may ask of its caller."""

    def map(self, function: CellFunction[C], cells: Sequence[C]) -> Sequence[xr.Dataset]:
        """Results of `function` on each cell, in order."""


class PlainContext:
    """Computes every cell at once in this process and stores nothing: for scripts, notebooks and tests."""

    def map(self, function: CellFunction[C], cells: Sequence[C]) -> list[xr.Dataset]:
        return [function(cell, lambda _done: None) for cell in cells]


NOT_TRAINED = "not_trained"
"""Meaning of a status where there was no run."""


def count_diverged(result: xr.Dataset) -> tuple[int, int]:
    """Number of diverged runs and of all runs; (0, 0) for a result without `status`."""
    status = result.get("status")
    meanings = "" if status is None else str(status.attrs.get("flag_meanings", ""))
    if status is None or "diverged" not in meanings.split():
        return 0, 0
    absent = meanings.split().index(NOT_TRAINED) if NOT_TRAINED in meanings.split() else -1
    return int((status == meanings.split().index("diverged")).sum()), int((status != absent).sum())
