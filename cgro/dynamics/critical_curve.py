"""The critical curve of a phase diagram: where training begins to end in CGRO, in each row and for each seed.

Every run ends either robust (robust test error near 0) or in CGRO (near 1/2), and with one seed it turns once along the
axis of a radius. So the cells on either side of the turn say as much as all cells of a row. Only these are searched
(see `enclose_changes`), at the same candidates as the full grid, with the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int64

from cgro.base.bracketing import Place, bracket, enclose_changes
from cgro.base.errors import UserError
from cgro.base.work import Context
from cgro.dynamics.axes import vary
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import train_pairs

LEVEL = 0.25
"""Robust test error from which a run counts as CGRO: half of its value at a coin toss."""


@dataclass(frozen=True)
class Trace:
    """Trained cells, and the two that enclose the transition of each line and seed."""

    places: list[Place]
    """Line, seed and candidate of every trained cell; seeds by their position."""
    runs: xr.Dataset
    """Recorded quantities, (run, step), in the order of `places`."""
    robust_side: Int64[np.ndarray, "lines seeds"]
    """Candidate next to the transition that ends robust; -1 or `count` if it lies beyond an end."""
    cgro_side: Int64[np.ndarray, "lines seeds"]
    """Candidate next to the transition that ends in CGRO; -1 or `count` if it lies beyond an end."""


def trace(
    context: Context | None,
    lines: Sequence[PatchSetting],
    name: str,
    values: Sequence[float],
    seeds: Sequence[int],
    *,
    test_samples: int,
    records: int = 2,
    device: str = "auto",
    stride: int = 1,
) -> Trace:
    """Enclose the transition of every line and seed along the field `name`, between neighbours of `values`.

    lines: settings that differ in another field and take the same number of steps. stride: see `enclose_changes`.

    Raises: UserError if a run diverges, or if runs turn from robust to CGRO in one line and back in another.
    """
    places: list[Place] = []
    runs: list[xr.Dataset] = []

    def ends_in_cgro(wanted: Sequence[Place]) -> list[bool]:
        pairs = [(vary(lines[place.line], name, values[place.candidate]), seeds[place.seed]) for place in wanted]
        trained = train_pairs(context, pairs, records=records, test_samples=test_samples, device=device)
        errors = trained["robust_test_error"].isel(step=-1).values
        for place, error in zip(wanted, errors, strict=True):
            if np.isnan(error):
                raise UserError(
                    f"the run at {name} = {values[place.candidate]:g} with seed {seeds[place.seed]} diverged, so the "
                    "transition cannot be traced; lower learning_rate"
                )
        places.extend(wanted)
        runs.append(trained)
        return [bool(error >= LEVEL) for error in errors]

    count = len(values)
    # Which way the first seed turns, by both ends of the first, the middle and the last line.
    tried = sorted({0, len(lines) // 2, len(lines) - 1})
    ends = [Place(line, 0, candidate) for line in tried for candidate in (0, count - 1)]
    outcomes = ends_in_cgro(ends)
    turns = {line: outcomes[2 * k + 1] - outcomes[2 * k] for k, line in enumerate(tried)}
    if {-1, 1} <= set(turns.values()):
        raise UserError(
            f"runs must turn from robust to CGRO along {name} in all lines or in none, but they do in some and turn "
            "back in others; choose a smaller range, or compute all cells"
        )
    falling = -1 in turns.values()

    def evaluate(wanted: Sequence[Place]) -> list[bool]:
        """In the order of candidates in which outcomes turn from False to True."""
        mirrored = [place._replace(candidate=count - 1 - place.candidate) for place in wanted]
        return ends_in_cgro(mirrored if falling else wanted)

    known: dict[tuple[int, int], dict[int, bool]] = {}
    for place, outcome in zip(ends, outcomes, strict=True):
        candidate = count - 1 - place.candidate if falling else place.candidate
        known.setdefault((place.line, 0), {})[candidate] = outcome
    found = enclose_changes(evaluate, lines=len(lines), seeds=len(seeds), count=count, known=known, stride=stride)
    sides = np.array(
        [[bracket(found[line, seed], count) for seed in range(len(seeds))] for line in range(len(lines))],
        dtype=np.int64,
    )
    if falling:
        sides = count - 1 - sides
    return Trace(places, xr.concat(runs, dim="run"), sides[..., 0], sides[..., 1])


def sides(result: xr.Dataset) -> tuple[Float64[np.ndarray, "y seeds"], Float64[np.ndarray, "y seeds"]]:
    """x of the cells on either side of the transition, robust and CGRO, in each row and for each seed of a diagram.

    In a row that turns more than once, the first turn counts; NaN if it never does. `result` needs robust_test_error
    (y, x, seed), which is NaN in cells that were not trained.
    """
    x = result["x"].values
    errors = result["robust_test_error"].transpose("y", "seed", "x").values
    robust, cgro = np.full(errors.shape[:2], np.nan), np.full(errors.shape[:2], np.nan)
    for row, seed in np.ndindex(*errors.shape[:2]):
        trained = np.flatnonzero(np.isfinite(errors[row, seed]))
        ends = errors[row, seed, trained] >= LEVEL
        turns = np.flatnonzero(ends[1:] != ends[:-1])
        if len(turns):
            before, after = trained[turns[0]], trained[turns[0] + 1]
            robust[row, seed], cgro[row, seed] = x[[before, after]] if ends[turns[0] + 1] else x[[after, before]]
    return robust, cgro
