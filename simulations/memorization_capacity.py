"""The smallest trained network that memorizes robustly, against the number of points and the dimension.

Constructions say how many parameters suffice, counting arguments how many are needed: sqrt(N D) up to logarithms, at
constant robustness ratio, and N D by construction. What does adversarial training find? Its answer is an upper bound of
what is needed: a smaller network may exist and be missed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.certify.certify import certify
from cgro.data.patches import require_sizes
from cgro.data.separated import random_points
from cgro.data.separation import LabelledPoints
from cgro.experiment import Context, PlainContext, Tick, UserError
from cgro.machine import resolve_device
from cgro.networks.memorizers.task import memorization_task
from cgro.training.adversarial import single_thread
from cgro.training.capacity import Stack, rounds, smallest_widths

TITLE = "Capacity: the smallest trained network that memorizes robustly"
Labels = Literal["random", "structured"]


@dataclass(frozen=True)
class Config:
    """Uniform points; N and D are varied one at a time; widths are found by bisection, many networks at once."""

    samples: tuple[int, ...] = (5, 10, 20, 40)
    """Numbers of points N of the first axis, each >= 2."""
    dims: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Dimensions D of the second axis, each >= 1."""
    fixed_samples: int = 20
    """N where it is not varied, >= 2."""
    fixed_dim: int = 8
    """D where it is not varied, >= 1."""
    labels: tuple[Labels, ...] = ("random", "structured")
    """random: coin tosses; structured: the sign of a linear function with margin."""
    ratio: float = 0.5
    """Robustness ratio rho = 2 radius / separation, in (0, 1)."""
    norm: Literal["inf", "2"] = "2"
    """Norm of the perturbation: inf or 2."""
    depth: int = 2
    """Affine layers, >= 2."""
    largest_width: int = 63
    """Widths 1 to this are searched, >= 1."""
    restarts: int = 3
    """Trainings of each candidate; one success is enough; >= 1."""
    steps: int = 500
    """Steps of adversarial training, >= 1."""
    seeds: int = 3
    """Independent data sets, >= 1."""
    device: str = "auto"
    """auto, cpu or cuda."""

    def __post_init__(self) -> None:
        require_sizes(
            seeds=self.seeds,
            restarts=self.restarts,
            steps=self.steps,
            largest_width=self.largest_width,
            depth=self.depth - 1,
            fixed_dim=self.fixed_dim,
            dims=min(self.dims, default=0),
            samples=min((self.fixed_samples, *self.samples)) - 1,
        )
        if not 0 < self.ratio < 1:
            raise UserError(f"ratio is {self.ratio:g}: allowed are numbers between 0 and 1; balls meet at 1")
        if self.norm not in ("inf", "2"):
            raise UserError(f"norm is {self.norm!r}: the attack knows 'inf' and '2'; choose one of them")
        for kind in self.labels:
            if kind not in get_args(Labels):
                raise UserError(f"labels are {kind!r}: allowed are {', '.join(get_args(Labels))}; choose from them")

    @classmethod
    def quick(cls) -> Config:
        """Four N and four D, two seeds: about ten seconds."""
        return cls(dims=(2, 4, 8, 16), restarts=2, steps=300, largest_width=31, seeds=2)

    @classmethod
    def paper(cls) -> Config:
        """Up to 320 points and 128 dimensions, ten seeds, more training; made for a GPU."""
        return cls(
            samples=(5, 10, 20, 40, 80, 160, 320),
            dims=(2, 4, 8, 16, 32, 64, 128),
            fixed_samples=40,
            largest_width=511,
            restarts=5,
            steps=2000,
            seeds=10,
        )

    @property
    def places(self) -> list[tuple[str, int, int]]:
        """(axis, N, D) of every point of both axes."""
        return [
            *(("samples", n, self.fixed_dim) for n in self.samples),
            *(("dim", self.fixed_samples, d) for d in self.dims),
        ]


@dataclass(frozen=True)
class Cell:
    """All sizes of one kind of labels and one seed: one stack of networks."""

    kind: Labels
    sizes: tuple[tuple[int, int], ...]
    ratio: float
    norm: Literal["inf", "2"]
    depth: int
    largest_width: int
    restarts: int
    steps: int
    device: str
    seed: int

    @property
    def work(self) -> float:
        """Rounds of training."""
        return float(rounds(self.ladder))

    @property
    def ladder(self) -> tuple[int, ...]:
        """Candidate widths."""
        return tuple(range(1, self.largest_width + 1))


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Smallest width, parameters and certified share over (labels, seed, place); -1 where the widest network failed."""
    shared: dict[str, Any] = {
        k: v
        for k, v in asdict(config).items()
        if k not in ("samples", "dims", "fixed_samples", "fixed_dim", "labels", "seeds")
    }
    sizes = tuple((n, d) for _, n, d in config.places)
    cells = [
        Cell(kind=kind, sizes=sizes, **shared, seed=seed) for kind in config.labels for seed in range(config.seeds)
    ]
    found = (context or PlainContext()).map(search, cells)
    stacked = xr.concat(found, dim="cell", combine_attrs="override")
    shape = (len(config.labels), config.seeds)
    variables: dict[str, Any] = {
        str(name): (("labels", "seed", "place"), v.values.reshape(*shape, -1), v.attrs)
        for name, v in stacked.data_vars.items()
    }
    for k, name in enumerate(("axis", "samples", "dim")):
        variables[name] = ("place", np.array([place[k] for place in config.places]), {"long_name": name})
    coords: dict[str, Any] = {"labels": list(config.labels), "seed": list(range(config.seeds))}
    return xr.Dataset(variables, coords, {"ratio": config.ratio, "norm": config.norm, "depth": config.depth})


@threadpool_limits.wrap(limits=1)
@single_thread()
def search(cell: Cell, tick: Tick) -> xr.Dataset:
    """Bisect over widths for every size at once, then certify what was found."""
    device = resolve_device(cell.device)
    sets = []
    for samples, dim in cell.sizes:
        data = draw(cell.kind, samples, dim, np.random.SeedSequence(cell.seed, spawn_key=(samples, dim)))
        separation = memorization_task(data, None, cell.norm, 1e-12).separation.distance
        sets.append((data.points, data.labels, cell.ratio * separation / 2))
    widths, networks = smallest_widths(
        Stack.of(sets, device),
        cell.ladder,
        norm=cell.norm,
        depth=cell.depth,
        restarts=cell.restarts,
        steps=cell.steps,
        generator=torch.Generator().manual_seed(cell.seed),
        after_round=lambda: tick(1.0),
    )
    certified, parameters = [], []
    for (points, labels, radius), network in zip(sets, networks, strict=True):
        if network is None:
            certified.append(np.nan)
            parameters.append(-1)
            continue
        result = certify(network, points, labels, cell.norm, radius, tiers=("interval", "linear"))
        certified.append(float(result.certified.mean()))
        parameters.append(network.size.total)
    return xr.Dataset(
        {
            "width": ("place", widths, {"long_name": "Smallest width found", "units": "neurons"}),
            "parameters": ("place", parameters, {"long_name": "Parameters of that network", "units": "1"}),
            "certified": ("place", certified, {"long_name": "Points certified by linear bounds", "units": "fraction"}),
        }
    )


def draw(kind: Labels, samples: int, dim: int, seed: np.random.SeedSequence) -> LabelledPoints:
    """Uniform points in the unit cube; structured labels are the sign of their first coordinates' mean, with margin.

    Points too close to the boundary are moved away from it, by a tenth of the cube's side in l_2.
    """
    data = random_points(samples, dim, seed=seed)
    if kind == "random":
        return data
    normal = np.ones(dim) / np.sqrt(dim)
    side = (data.points - 0.5) @ normal
    labels = np.where(side > np.median(side) if samples > 2 else side >= side.max(), 1, -1)
    centre = (side[labels == 1].min() + side[labels == -1].max()) / 2
    return LabelledPoints(data.points + 0.1 * labels[:, None] * normal - (centre * normal), labels)
