"""The grid family: a hyperplane classifies it cleanly, but a robust classifier must realize the labels of all cells.

Points (i / K, 1/2 + offset phi(i)) for i in {1..K}^(D-1), any labels phi: the last coordinate gives the label, and a
radius of `offset` hides it. What remains is K^(D-1) cells with arbitrary labels. Reference: Li et al., NeurIPS 2022,
arXiv:2205.13863, Theorem 4.3.

Six kinds of records: "bound", what all networks need and what suffices for the worst labelling, by `robust_size`;
"lost", the share of cells on which every network of a given size errs; "grid", random labels; "parity", the labels
(-1)^(i_1 + ... + i_(D-1)), which need few parameters; "line", all labellings of up to `line_cells` cells in D = 2,
solved exactly; "square", all labellings of four cells in D = 3, K = 2, where `needed` is proved and `neurons` is the
smallest certified network that training from many starts finds; a smaller one may exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.machine import single_thread
from cgro.base.work import Context, PlainContext, Tick
from cgro.certify.certify import certify
from cgro.certify.structural import structural_margins
from cgro.data.patches import require_sizes
from cgro.data.separated import grid_family
from cgro.memorizers.bounds import neurons_for_all_labellings
from cgro.memorizers.constructions import NORMS, build
from cgro.memorizers.grid_bounds import (
    parameters_for_all_labellings,
    parity,
    parity_network,
    shattered_share,
    square_neurons,
)
from cgro.memorizers.line import label_changes, line_network, neurons_needed
from cgro.memorizers.robust_size import robust_size_lower_bound, robust_size_upper_bound, share_lost
from cgro.memorizers.task import Memorizer, Task, memorization_task
from cgro.networks.relu import PrecisionError
from cgro.runs.experiment import Experiment
from cgro.runs.records import as_records
from cgro.runs.sizes import require_cells, require_networks

_KINDS = Literal["bound", "lost", "grid", "parity", "line", "square"]
_POINTS = 40
"""Sizes for which the share of lost cells is computed, at each dimension."""


@dataclass(frozen=True)
class Config:
    """Compare our smallest robust network for random labels of the grid with what any two-layer network needs."""

    cells_per_side: tuple[int, ...] = (2, 3, 10)
    """Numbers of cells K per coordinate, each >= 2."""
    largest_dim: int = 9
    """Largest dimension D, from 2 on; grids of more than `largest_grid` cells are counted, not built."""
    largest_grid: int = 300
    """Largest number of cells K^(D-1) for which networks are built, >= 2."""
    ratio: float = 0.5
    """l_inf radius divided by half the distance between cells, 1/(2 K), in (0, 1)."""
    bound_dim: int = 60
    """Largest dimension D of the bounds for all networks, which are counted, not built; 2 to 250."""
    line_cells: int = 7
    """Largest number of cells on a line for which all labellings are solved exactly, 2 to 10."""
    seeds: int = 2
    """Random labellings of each grid, >= 1."""
    square_restarts: int = 16
    """Training runs for each width and labelling of the square, >= 1."""
    square_width: int = 6
    """Largest width of the search for the square, which starts at 1; >= 1."""

    def __post_init__(self) -> None:
        require_sizes(
            least={"cells_per_side": 2, "largest_dim": 2, "largest_grid": 2},
            cells_per_side=min(self.cells_per_side, default=0),
            largest_dim=self.largest_dim,
            largest_grid=self.largest_grid,
            seeds=self.seeds,
            square_restarts=self.square_restarts,
            square_width=self.square_width,
        )
        # Exact counts have about D digits, and each D is one cell of work.
        require_cells(cells_per_side=len(self.cells_per_side), largest_dim=self.largest_dim, digits=self.largest_dim)
        require_cells(seeds=self.seeds)
        require_networks(3, self.square_width, 2, square_restarts=self.square_restarts)
        if not 2 <= self.bound_dim <= 250:
            raise UserError(f"bound_dim must be 2 to 250, got {self.bound_dim}: sizes are stored in float64")
        if not 2 <= self.line_cells <= 10:
            raise UserError(f"line_cells must be 2 to 10, got {self.line_cells}; there are 2^cells labellings")
        if not 0 < self.ratio < 1:
            raise UserError(f"ratio must be between 0 and 1, got {self.ratio:g}: balls meet at 1")

    def builds(self, cells_per_side: int, dim: int) -> bool:
        """Whether the grid is small enough to build networks for it."""
        cells: int = cells_per_side ** (dim - 1)
        return cells <= self.largest_grid

    @classmethod
    def quick(cls) -> Config:
        """Grids of up to 300 cells, all labellings of up to seven cells on a line; a few seconds."""
        return cls(square_restarts=8)

    @classmethod
    def paper(cls) -> Config:
        """Grids of up to 2,200 cells, all labellings of up to eight cells on a line."""
        return cls(largest_dim=12, largest_grid=2200, line_cells=8, seeds=5)


@dataclass(frozen=True)
class Cell:
    """One grid with several random labellings or with parity, or all labellings of a line or the square."""

    kind: _KINDS
    cells_per_side: int
    dim: int
    ratio: float
    seeds: int
    build: bool
    restarts: int = 0
    width: int = 0

    @property
    def work(self) -> float:
        """Number of grid cells that are built."""
        return float(self.cells_per_side ** (self.dim - 1)) * self.seeds if self.build else 1.0


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """One record for each grid and labelling, including every labelling of the lines and the square."""
    sizes = [(K, D) for K in config.cells_per_side for D in range(2, config.largest_dim + 1)]
    grids = [Cell("grid", K, D, config.ratio, config.seeds, build=config.builds(K, D)) for K, D in sizes]
    regular = [Cell("parity", K, D, config.ratio, 1, build=True) for K, D in sizes if config.builds(K, D)]
    lines = [Cell("line", K, 2, config.ratio, 1, build=True) for K in range(2, config.line_cells + 1)]
    square = Cell("square", 2, 3, config.ratio, 1, True, config.square_restarts, config.square_width)
    bounds = [Cell("bound", K, config.bound_dim, config.ratio, 1, build=False) for K in config.cells_per_side]
    smallest_side = min(config.cells_per_side)
    dims = sorted({max(2, config.bound_dim * k // 6) for k in range(2, 7)})
    lost = [Cell("lost", smallest_side, D, config.ratio, 1, build=False) for D in dims]
    results = (context or PlainContext()).map(examine, [*bounds, *lost, *grids, *regular, *lines, square])
    return xr.concat(results, dim="record", combine_attrs="override")


@threadpool_limits.wrap(limits=1)
def examine(cell: Cell, tick: Tick) -> xr.Dataset:
    """Build the smallest networks we know, certify them, and compare with what is needed."""
    if cell.kind == "bound":
        rows = [bound_all(cell, dim) for dim in range(2, cell.dim + 1)]
    elif cell.kind == "lost":
        rows = lose_cells(cell)
    elif cell.kind == "grid":
        rows = [solve_grid(cell, seed) for seed in range(cell.seeds)]
    elif cell.kind == "parity":
        rows = [solve_parity(cell)]
    elif cell.kind == "square":
        rows = solve_squares(cell)
    else:
        # A labelling and its negative need equally many.
        rest = product((-1, 1), repeat=cell.cells_per_side - 1)
        rows = [solve_line(cell, (1, *labels)) for labels in rest if -1 in labels]
    tick(cell.work)
    return as_records(rows)


def _row(cell: Cell, **found: Any) -> dict[str, Any]:
    """One record; unknown values are -1.

    needed: neurons of a two-layer network; needed_parameters: its parameters. needed_at_depth and needed_with_errors:
    parameters of one architecture as deep as the network found, for all cells and for all but a tenth. lower, upper:
    parameters needed and sufficient for all labellings; share: of cells lost by every network of `parameters`.
    """
    return {
        "kind": cell.kind,
        "cells_per_side": cell.cells_per_side,
        "dim": cell.dim,
        "cells": float(cell.cells_per_side) ** (cell.dim - 1),
        "clean_parameters": cell.dim + 1,
        "changes": -1,
        "nonzero": -1,
        "total": -1,
        "depth": -1,
        "neurons": -1,
        "needed": -1,
        "needed_parameters": -1,
        "needed_at_depth": -1,
        "needed_with_errors": -1,
        "lower": -1.0,
        "upper": -1.0,
        "parameters": -1.0,
        "share": -1.0,
        "certified": 0.0,
        "construction": "",
        "labelling": "",
    } | found


def bound_all(cell: Cell, dim: int) -> dict[str, Any]:
    """Parameters that every network needs for some labelling, of whatever depth, and parameters that suffice."""
    eps = 1 / (2 * cell.cells_per_side)
    lower, upper = robust_size_lower_bound(dim, eps), robust_size_upper_bound(dim, eps)
    return _row(replace(cell, dim=dim), lower=float(lower), upper=float(upper))


def lose_cells(cell: Cell) -> list[dict[str, Any]]:
    """The share of cells that networks lose for some labelling, from D + 1 parameters to the lower bound."""
    eps = 1 / (2 * cell.cells_per_side)
    most = math.log(4 * robust_size_lower_bound(cell.dim, eps, error=0.0))
    sizes = np.unique(np.exp(np.linspace(math.log(cell.dim + 1), max(most, math.log(cell.dim + 2)), _POINTS)).round())
    return [_row(cell, parameters=float(W), share=share_lost(cell.dim, eps, int(W))) for W in sizes]


def solve_grid(cell: Cell, seed: int) -> dict[str, Any]:
    """The smallest of our l_inf constructions for random labels, and what networks need for the worst labelling."""
    cells = cell.cells_per_side ** (cell.dim - 1)
    needed = neurons_for_all_labellings(cells, cell.dim)
    known = {"needed": needed, "needed_parameters": needed * (cell.dim + 2) + 1}
    if not cell.build:
        return _row(cell, **known)
    data = grid_family(cell.cells_per_side, cell.dim, offset(cell), seed=seed)
    best = smallest(memorization_task(data, None, "inf", radius(cell)))
    size = best.float_network.size
    return _row(
        cell,
        **known,
        needed_at_depth=parameters_for_all_labellings(cells, size.depth),
        needed_with_errors=parameters_for_all_labellings(shattered_share() * cells, size.depth),
        nonzero=size.nonzero,
        total=size.total,
        depth=size.depth,
        neurons=size.neurons,
        construction=best.construction,
        certified=float((structural_margins(best) > 0).mean()),
    )


def smallest(task: Task) -> Memorizer:
    """The memorizer with the fewest non-zero parameters among our constructions for the norm."""
    found = []
    for name in NORMS[task.norm]:
        try:
            found.append(build(task, name, {}))
        except (UserError, PrecisionError):  # The construction does not allow this ratio.
            continue
    return min(found, key=lambda m: m.network.size.nonzero)


def solve_parity(cell: Cell) -> dict[str, Any]:
    """The parity network, certified by linear bounds. Lower bounds over all labellings do not apply to this one."""
    labels = parity(cell.cells_per_side, cell.dim)
    data = grid_family(cell.cells_per_side, cell.dim, offset(cell), labelling=labels)
    network = parity_network(cell.cells_per_side, cell.dim, cell.ratio)
    found = certify(network, data.points, labels, "inf", radius(cell), tiers=("interval", "linear"))
    size = network.size
    return _row(
        cell,
        nonzero=size.nonzero,
        total=size.total,
        depth=size.depth,
        neurons=size.neurons,
        construction="parity_network",
        certified=float(found.certified.mean()),
    )


@single_thread()
def solve_squares(cell: Cell) -> list[dict[str, Any]]:
    """For the labellings of four cells up to sign, the smallest width at which all tiers certify some training run.

    A labelling and its negative need equally many neurons; equal labels need none.
    """
    import torch

    from cgro.training.capacity import Stack, train_robustly

    labellings = [np.array((1, *rest)) for rest in product((-1, 1), repeat=3) if -1 in rest]
    data = [grid_family(2, 3, offset(cell), labelling=labels) for labels in labellings]
    stack = Stack.of([(d.points, d.labels, radius(cell)) for d in data]).repeat(cell.restarts)
    found: dict[int, dict[str, Any]] = {}
    for width in range(1, cell.width + 1):
        if len(found) == len(data):
            break
        networks, accuracy = train_robustly(
            stack,
            torch.full((len(stack.x),), width),
            norm="inf",
            generator=torch.Generator().manual_seed(width),
        )
        for start in torch.nonzero(accuracy == 1)[:, 0].tolist():
            b = start // cell.restarts
            if b in found:
                continue
            network = networks.network(start)
            proof = certify(network, data[b].points, data[b].labels, "inf", radius(cell), nodes=1000)
            if proof.certified.all():
                size = network.size
                found[b] = {
                    "neurons": width,
                    "nonzero": size.nonzero,
                    "total": size.total,
                    "depth": size.depth,
                    "certified": float(proof.certified.mean()),
                }
    return [
        _row(
            cell,
            labelling="".join("+" if y > 0 else "-" for y in labels),
            needed=square_neurons(labels, cell.ratio),
            construction="trained",
            **found.get(b, {}),
        )
        for b, labels in enumerate(labellings)
    ]


def solve_line(cell: Cell, labelling: tuple[int, ...]) -> dict[str, Any]:
    """The two-layer network with the fewest neurons for one labelling of K cells, certified by the general tiers."""
    labels = np.array(labelling)
    data = grid_family(cell.cells_per_side, 2, offset(cell), labelling=labels)
    x = data.points[:, 0]
    zeros = ((x[1:] + x[:-1]) / 2)[labels[1:] != labels[:-1]]
    network = line_network(zeros, int(labels[0]), np.array([1.0, 0.0]))
    changes = label_changes(labels)
    return _row(
        cell,
        changes=changes,
        needed=neurons_needed(changes),
        nonzero=network.size.nonzero,
        total=network.size.total,
        depth=network.depth,
        neurons=network.size.neurons,
        construction="line_network",
        labelling="".join("+" if y > 0 else "-" for y in labels),
        certified=float(certify(network, data.points, data.labels, "inf", radius(cell)).certified.mean()),
    )


def radius(cell: Cell) -> float:
    """Radius of the l_inf balls: the ratio times half the distance between cells."""
    return cell.ratio / (2 * cell.cells_per_side)


def offset(cell: Cell) -> float:
    """How far the label moves the last coordinate: a tenth of the radius."""
    return 0.1 * radius(cell)


EXPERIMENT = Experiment(
    "Robust generalization on the grid family: exponentially many parameters", Config, run, one_core_cells=True
)
