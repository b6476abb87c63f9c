"""How far the constants of a claim can be moved before its check refutes it.

A check that accepts a constant 5 % off does not know that constant. `refutes` moves one; `tolerances` finds for each
constant of a claim the smallest of a few moves that is refuted, on either side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.work import Tick
from cgro.claims.claim import Claim, Constant
from cgro.runs.context import StoredContext
from cgro.runs.registry import find

MOVES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Moves tried, as shares of the constant."""
_FIRST = MOVES.index(0.05)
Preset = Literal["quick", "deep"]


@dataclass(frozen=True)
class Tolerance:
    """What a check knows of one constant."""

    check: str
    constant: str
    below: float | None
    """The smallest move down that is refuted, as a share; None if none of `MOVES` is."""
    above: float | None
    """The same for moves up."""
    otherwise: str


@dataclass(frozen=True)
class ToleranceCell:
    """All constants of one claim."""

    name: str
    preset: Preset

    @property
    def work(self) -> float:
        """Every check counts as one."""
        return 1.0


def refutes(claim: Claim, constant: Constant, factor: float, preset: Preset) -> bool:
    """Whether the check refutes the claim with this constant multiplied by `factor`.

    Raises: ValueError for a constant that cannot be moved.
    """
    if constant.moved is None:
        raise ValueError("the constant cannot be moved")
    return claim.check(**claim.preset(preset) | dict(constant.moved(factor))).holds is False


def smallest_refuted(claim: Claim, constant: Constant, preset: Preset, sign: int) -> float | None:
    """The smallest of `MOVES` in this direction that is refuted, if a larger move is refuted wherever a smaller one is.

    None if none is, if the constant cannot be moved, or if the claim makes no sense with the moved one.
    """

    def refuted(move: float) -> bool:
        try:
            return refutes(claim, constant, 1 + sign * move, preset)
        except UserError:
            return False

    if constant.moved is None:
        return None
    if not refuted(MOVES[_FIRST]):
        return next((move for move in MOVES[_FIRST + 1 :] if refuted(move)), None)
    return next((move for move in MOVES[:_FIRST] if refuted(move)), MOVES[_FIRST])


def measure(cell: ToleranceCell, tick: Tick) -> xr.Dataset:
    """The tolerances of one claim, as JSON: the cell function."""
    claim: Claim = find("check", cell.name)
    with threadpool_limits(1, user_api="blas"):
        found = [
            Tolerance(
                cell.name,
                words,
                smallest_refuted(claim, constant, cell.preset, -1),
                smallest_refuted(claim, constant, cell.preset, 1),
                constant.otherwise,
            )
            for words, constant in claim.constants.items()
        ]
    tick(cell.work)
    return xr.Dataset(attrs={"tolerances": json.dumps([asdict(each) for each in found])})


def tolerances(
    names: Sequence[str], folder: Path, *, preset: Preset = "quick", jobs: int = 1, quiet: bool = False
) -> list[Tolerance]:
    """The tolerances of claims by name, computed now and stored below `folder`.

    Raises: StorageError if the folder cannot be written.
    """
    context = StoredContext(folder, jobs=min(jobs, len(names)), fresh=True, quiet=quiet)
    parts = context.map(measure, [ToleranceCell(name, preset) for name in names])
    return [Tolerance(**each) for part in parts for each in json.loads(part.attrs["tolerances"])]
