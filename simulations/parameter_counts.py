"""How many parameters robust memorization takes: every construction against its formula and against lower bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from cgro.data.patches import require_sizes
from cgro.data.separated import random_points
from cgro.experiment import Context, PlainContext, Tick, UserError
from cgro.networks.memorizers.bounds import (
    lower_bound_total,
    published_scaling_total,
    shared_square_scaling_total,
)
from cgro.networks.memorizers.constructions import NORMS, build
from cgro.networks.memorizers.task import memorization_task
from cgro.networks.relu import PrecisionError
from cgro.norms import Norm

TITLE = "Parameter counts: robust memorizers against their formulas and against lower bounds"
AXES = ("samples", "dim", "ratio", "norm")


@dataclass(frozen=True)
class Config:
    """Uniform points in the unit cube with random labels; one of N, D, rho and p is varied at a time."""

    samples: tuple[int, ...] = (10, 30, 100, 300, 1000)
    """Numbers of points N of the first axis, each >= 2."""
    dims: tuple[int, ...] = (2, 5, 10, 30, 100, 300, 1000)
    """Dimensions D of the second axis, each >= 1."""
    ratios: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
    """Robustness ratios rho = 2 radius / separation of the third axis, in (0, 1)."""
    fixed_samples: int = 40
    """N where it is not varied, >= 2."""
    fixed_dim: int = 200
    """D where it is not varied, >= 1."""
    fixed_ratio: float = 0.5
    """rho where it is not varied, in (0, 1)."""
    seeds: int = 1
    """Independent point sets, >= 1."""

    def __post_init__(self) -> None:
        require_sizes(seeds=self.seeds, fixed_dim=self.fixed_dim, dims=min(self.dims, default=0))
        if min((self.fixed_samples, *self.samples)) < 2:
            raise UserError(f"samples are {self.samples}, {self.fixed_samples}: allowed are 2 or more; raise them")
        for ratio in (self.fixed_ratio, *self.ratios):
            if not 0 < ratio < 1:
                raise UserError(f"ratio is {ratio:g}: allowed are numbers between 0 and 1; balls meet at 1")

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
        """One cell for each point of each axis, norm, construction and seed."""
        places = [
            *(("samples", n, self.fixed_dim, self.fixed_ratio) for n in self.samples),
            *(("dim", self.fixed_samples, d, self.fixed_ratio) for d in self.dims),
            *(("ratio", self.fixed_samples, self.fixed_dim, r) for r in self.ratios),
        ]
        return [
            Cell(axis, n, d, r, norm, name, seed)
            for axis, n, d, r in places
            for norm, names in NORMS.items()
            for name in names
            if name != "even_power"  # It serves small ratios only.
            for seed in range(self.seeds)
        ]


@dataclass(frozen=True)
class Cell:
    """One memorizer of one point set."""

    axis: str
    samples: int
    dim: int
    ratio: float
    norm: Norm
    construction: str
    seed: int

    @property
    def work(self) -> float:
        """One network."""
        return 1.0


COUNTS = {
    "nonzero": "Non-zero weights and biases",
    "total": "Weights and biases of dense layers",
    "neurons": "ReLUs",
    "depth": "Affine layers",
    "width": "Neurons of the widest layer",
}


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """One record for each memorizer: measured and claimed counts, lower bound and published scaling."""
    return xr.concat((context or PlainContext()).map(count, config.cells), dim="record", combine_attrs="override")


def count(cell: Cell, tick: Tick) -> xr.Dataset:
    """Build one network and count; all counts are 0 where float64 cannot carry it."""
    streams = np.random.SeedSequence(cell.seed, spawn_key=(cell.samples, cell.dim))
    data = random_points(cell.samples, cell.dim, seed=streams)
    wide = memorization_task(data, None, cell.norm, 1e-12)
    task = memorization_task(
        data, None, cell.norm, cell.ratio * wide.separation.distance / 2, separation=wide.separation
    )
    values: dict[str, float] = {}
    try:
        memorizer = build(task, cell.construction, {})
        for name in COUNTS:
            values[name] = getattr(memorizer.network.size, name)
            values[f"claimed_{name}"] = getattr(memorizer.claimed, name)
        stored = int(min((data.labels == -1).sum(), (data.labels == 1).sum()))
    except PrecisionError:
        values = dict.fromkeys([*COUNTS, *(f"claimed_{name}" for name in COUNTS)], 0)
        stored = 0
    tick(1.0)
    bounds = {
        "lower_bound": lower_bound_total(cell.samples, cell.dim, cell.ratio, cell.norm),
        "published_scaling": published_scaling_total(cell.samples, cell.dim, cell.ratio),
        "shared_square_scaling": shared_square_scaling_total(cell.samples, cell.dim, cell.ratio),
    }
    labels = {name: getattr(cell, name) for name in ("axis", "samples", "dim", "ratio", "norm", "construction", "seed")}
    return xr.Dataset(
        {
            name: ("record", [value], {"long_name": COUNTS.get(name.removeprefix("claimed_"), name), "units": "1"})
            for name, value in {**labels, **values, **bounds, "stored": stored}.items()
        }
    )
