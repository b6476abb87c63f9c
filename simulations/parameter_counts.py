"""How many parameters robust memorization needs: every construction against its formula and the lower bounds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.norms import Norm
from cgro.base.work import Context, PlainContext, Tick
from cgro.data.patches import require_sizes
from cgro.data.separated import random_points
from cgro.data.separation import LabelledPoints
from cgro.memorizers.bounds import lower_bound_total, published_scaling_total, shared_square_scaling_total
from cgro.memorizers.constructions import NORMS, build
from cgro.memorizers.task import memorization_task
from cgro.networks.relu import PrecisionError, Size
from cgro.runs.experiment import Experiment
from cgro.runs.records import as_records
from cgro.runs.sizes import require_cells, require_points

AXES = ("samples", "dim", "ratio", "norm")


@dataclass(frozen=True)
class Config:
    """Uniform points in the unit cube with random labels; vary one of N, D, rho and p at a time."""

    samples: tuple[int, ...] = (10, 30, 100, 300, 1000)
    """Numbers of points N of the first axis, each >= 2."""
    dims: tuple[int, ...] = (2, 5, 10, 30, 100, 300, 1000)
    """Dimensions D of the second axis, each >= 1."""
    ratios: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
    """Robustness ratios rho = 2 radius / separation of the third axis, in (0, 1)."""
    fixed_samples: int = 40
    """N when it is not varied, >= 2."""
    fixed_dim: int = 200
    """D when it is not varied, >= 1."""
    fixed_ratio: float = 0.5
    """rho when it is not varied, in (0, 1)."""
    seeds: int = 1
    """Independent point sets, >= 1."""

    def __post_init__(self) -> None:
        require_sizes(seeds=self.seeds, fixed_dim=self.fixed_dim, dims=min(self.dims, default=0))
        if min((self.fixed_samples, *self.samples)) < 2:
            raise UserError(f"samples must be at least 2, got {self.samples} and {self.fixed_samples}")
        require_cells(seeds=self.seeds)
        require_points(samples=max((self.fixed_samples, *self.samples)), fixed_dim=self.fixed_dim)
        require_points(fixed_samples=self.fixed_samples, dims=max((self.fixed_dim, *self.dims)))
        for ratio in (self.fixed_ratio, *self.ratios):
            if not 0 < ratio < 1:
                raise UserError(f"ratio must be between 0 and 1, got {ratio:g}: balls meet at 1")

    @classmethod
    def quick(cls) -> Config:
        """One point set; about half a minute."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """Five point sets, finer axes."""
        return cls(
            samples=(10, 20, 50, 100, 200, 500, 1000, 2000),
            dims=(2, 5, 10, 20, 50, 100, 200, 500, 1000),
            ratios=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99),
            seeds=5,
        )

    @property
    def cells(self) -> list[Cell]:
        """One cell for each point of each axis and seed."""
        places = [
            *(("samples", n, self.fixed_dim, self.fixed_ratio) for n in self.samples),
            *(("dim", self.fixed_samples, d, self.fixed_ratio) for d in self.dims),
            *(("ratio", self.fixed_samples, self.fixed_dim, r) for r in self.ratios),
        ]
        return [Cell(axis, n, d, r, seed) for axis, n, d, r in places for seed in range(self.seeds)]


@dataclass(frozen=True)
class Cell:
    """One point set and all its memorizers."""

    axis: str
    samples: int
    dim: int
    ratio: float
    seed: int

    @property
    def work(self) -> float:
        """Points times dimensions."""
        return float(self.samples * self.dim)


COUNTS = {
    "nonzero": "Non-zero weights and biases",
    "total": "Weights and biases of dense layers",
    "neurons": "ReLUs",
    "depth": "Affine layers",
    "width": "Neurons of the widest layer",
}


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """One record per memorizer: measured and claimed counts, lower bound and published scaling."""
    return xr.concat((context or PlainContext()).map(count, config.cells), dim="record", combine_attrs="override")


@threadpool_limits.wrap(limits=1)
def count(cell: Cell, tick: Tick) -> xr.Dataset:
    """Build every memorizer of a point set and count its parameters; 0 where float64 is not precise enough."""
    streams = np.random.SeedSequence(cell.seed, spawn_key=(cell.samples, cell.dim))
    data = random_points(cell.samples, cell.dim, seed=streams)
    # even_power, which replaces the l_inf norm by powers, works for small ratios only.
    rows = [
        count_one(cell, data, norm, name) for norm, names in NORMS.items() for name in names if name != "even_power"
    ]
    tick(cell.work)
    return as_records(rows, COUNTS | {f"claimed_{name}": f"{text}, by formula" for name, text in COUNTS.items()})


def count_one(cell: Cell, data: LabelledPoints, norm: Norm, construction: str) -> dict[str, Any]:
    """Measured and claimed counts of one memorizer, with the bounds."""
    wide = memorization_task(data, None, norm, 1e-12)
    radius = cell.ratio * wide.separation.distance / 2
    task = memorization_task(data, None, norm, radius, separation=wide.separation)
    row: dict[str, Any] = asdict(cell) | {"norm": norm, "construction": construction}
    try:
        memorizer = build(task, construction, {})
        measured, claimed = memorizer.network.size, memorizer.claimed
    except PrecisionError:
        measured = claimed = Size(0, 0, 0, 0, 0)
    row |= {name: getattr(measured, name) for name in COUNTS}
    row |= {f"claimed_{name}": getattr(claimed, name) for name in COUNTS}
    return row | {
        "lower_bound": lower_bound_total(cell.samples, cell.dim, cell.ratio, norm),
        "published_scaling": published_scaling_total(cell.samples, cell.dim, cell.ratio),
        "shared_square_scaling": shared_square_scaling_total(cell.samples, cell.dim, cell.ratio),
    }


EXPERIMENT = Experiment(
    "Parameter counts: robust memorizers against their formulas and against lower bounds",
    Config,
    run,
    one_core_cells=True,
)
