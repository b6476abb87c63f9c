"""The grid family: a hyperplane classifies it cleanly, a robust classifier must realize the labels of all cells.

Points (i / K, 1/2 + offset phi(i)) for i in {1..K}^(D-1), any labels phi: the last coordinate tells the label, a radius
of `offset` hides it. What is left are K^(D-1) cells with arbitrary labels. Li et al., NeurIPS 2022, Theorem 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.certify.certify import certify
from cgro.certify.structural import structural_margins
from cgro.data.patches import require_sizes
from cgro.data.separated import grid_family
from cgro.experiment import Context, PlainContext, Tick, UserError
from cgro.networks.memorizers.bounds import neurons_for_all_labellings
from cgro.networks.memorizers.constructions import build
from cgro.networks.memorizers.line import label_changes, line_network, neurons_needed
from cgro.networks.memorizers.task import memorization_task
from cgro.sweeps.records import as_records

TITLE = "Robust generalization on the grid family: exponentially many parameters"
_CONSTRUCTIONS = ("hinge_sum", "shared_hinges", "sequential")


@dataclass(frozen=True)
class Config:
    """Our smallest robust network for random labels of the grid, beside what any two-layer network needs."""

    cells_per_side: tuple[int, ...] = (2, 3, 10)
    """Cells K in each coordinate, each >= 2."""
    largest_dim: int = 9
    """Dimensions D from 2 to this; sizes of more than `largest_grid` cells are counted, not built."""
    largest_grid: int = 300
    """Largest number of cells K^(D-1) for which networks are built, >= 2."""
    ratio: float = 0.5
    """l_inf radius over 1/(2 K), half the distance of cells, in (0, 1)."""
    line_cells: int = 7
    """All labellings of up to this many cells on a line are solved exactly, 2 to 10."""
    seeds: int = 2
    """Random labellings of each grid, >= 1."""

    def __post_init__(self) -> None:
        require_sizes(
            cells_per_side=min(self.cells_per_side, default=0) - 1,
            largest_dim=self.largest_dim - 1,
            largest_grid=self.largest_grid - 1,
            seeds=self.seeds,
        )
        if not 2 <= self.line_cells <= 10:
            raise UserError(f"line_cells is {self.line_cells}: allowed are 2 to 10; there are 2^cells labellings")
        if not 0 < self.ratio < 1:
            raise UserError(f"ratio is {self.ratio:g}: allowed are numbers between 0 and 1; balls meet at 1")

    def builds(self, cells_per_side: int, dim: int) -> bool:
        """Is the grid small enough to build networks for it?"""
        cells: int = cells_per_side ** (dim - 1)
        return cells <= self.largest_grid

    @classmethod
    def quick(cls) -> Config:
        """Grids of up to 300 cells, all labellings of up to seven cells on a line; a few seconds."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """Grids of up to 2,200 cells, all labellings of up to eight cells on a line."""
        return cls(largest_dim=12, largest_grid=2200, line_cells=8, seeds=5)


@dataclass(frozen=True)
class Cell:
    """One grid with several random labellings, or all labellings of cells on a line."""

    kind: Literal["grid", "line"]
    cells_per_side: int
    dim: int
    ratio: float
    seeds: int
    build: bool

    @property
    def work(self) -> float:
        """Cells of the grid that are built."""
        return float(self.cells_per_side ** (self.dim - 1)) * self.seeds if self.build else 1.0


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """One record for each grid and for each labelling of a line."""
    grids = [
        Cell("grid", K, D, config.ratio, config.seeds, build=config.builds(K, D))
        for K in config.cells_per_side
        for D in range(2, config.largest_dim + 1)
    ]
    lines = [Cell("line", K, 2, config.ratio, 1, build=True) for K in range(2, config.line_cells + 1)]
    results = (context or PlainContext()).map(examine, [*grids, *lines])
    return xr.concat(results, dim="record", combine_attrs="override")


@threadpool_limits.wrap(limits=1)
def examine(cell: Cell, tick: Tick) -> xr.Dataset:
    """Build the smallest networks that we know, certify them, and say what is needed."""
    if cell.kind == "grid":
        rows = [solve_grid(cell, seed) for seed in range(cell.seeds)]
    else:
        # A labelling and its negative need as much.
        rest = product((-1, 1), repeat=cell.cells_per_side - 1)
        rows = [solve_line(cell, (1, *labels)) for labels in rest if -1 in labels]
    tick(cell.work)
    return as_records(rows)


def _row(cell: Cell, **found: Any) -> dict[str, Any]:
    """A record; what is not known is -1."""
    return {
        "kind": cell.kind,
        "cells_per_side": cell.cells_per_side,
        "dim": cell.dim,
        "cells": float(cell.cells_per_side) ** (cell.dim - 1),
        "clean_parameters": cell.dim + 1,
        "changes": -1,
        "nonzero": -1,
        "neurons": -1,
        "needed": -1,
        "certified": 0.0,
        "construction": "",
    } | found


def solve_grid(cell: Cell, seed: int) -> dict[str, Any]:
    """The smallest of our l_inf constructions, and the neurons that two-layer networks need for some labelling."""
    needed = neurons_for_all_labellings(cell.cells_per_side ** (cell.dim - 1), cell.dim)
    if not cell.build:
        return _row(cell, needed=needed)
    data = grid_family(cell.cells_per_side, cell.dim, offset(cell), seed=seed)
    task = memorization_task(data, None, "inf", cell.ratio / (2 * cell.cells_per_side))
    best = min((build(task, name, {}) for name in _CONSTRUCTIONS), key=lambda m: m.network.size.nonzero)
    size = best.network.size
    return _row(
        cell,
        needed=needed,
        nonzero=size.nonzero,
        neurons=size.neurons,
        construction=best.construction,
        certified=float((structural_margins(best) > 0).mean()),
    )


def solve_line(cell: Cell, labelling: tuple[int, ...]) -> dict[str, Any]:
    """The two-layer network with the fewest neurons for one labelling of K cells, certified by the general tiers."""
    labels = np.array(labelling)
    data = grid_family(cell.cells_per_side, 2, offset(cell), labelling=labels)
    x = data.points[:, 0]
    zeros = ((x[1:] + x[:-1]) / 2)[labels[1:] != labels[:-1]]
    network = line_network(zeros, int(labels[0]), np.array([1.0, 0.0]))
    changes = label_changes(labels)
    radius = cell.ratio / (2 * cell.cells_per_side)
    return _row(
        cell,
        changes=changes,
        needed=neurons_needed(changes),
        nonzero=network.size.nonzero,
        neurons=network.size.neurons,
        construction="line_network",
        certified=float(certify(network, data.points, data.labels, "inf", radius).certified.mean()),
    )


def offset(cell: Cell) -> float:
    """How far the last coordinate is moved by the label: a tenth of the radius."""
    return 0.1 * cell.ratio / (2 * cell.cells_per_side)
