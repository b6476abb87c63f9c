"""Certificates of every construction on a grid of sizes, norms and radii, and of memorizers with one changed weight.

Memorizers of any size are certified by their structure; small ones also by the general tiers (interval bounds, linear
bounds, MILP), which use only the weights. Then single weights are changed by a tenth: the certifier must find a
counterexample wherever brute force in the plane finds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.norms import Norm, length
from cgro.base.validate import integer
from cgro.base.work import Context, PlainContext, Tick
from cgro.certify.certify import Tier, certify
from cgro.certify.necessary import falsify_by_first_layer
from cgro.certify.structural import structural_margins
from cgro.data.patches import require_sizes
from cgro.data.separated import random_points
from cgro.memorizers.constructions import NORMS, build
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.readout import margins
from cgro.networks.relu import ReluNetwork, dense
from cgro.runs.experiment import Experiment
from cgro.runs.records import as_records
from cgro.runs.sizes import require_cells, require_points

TIERS = ("interval", "linear", "milp", "attack", "")


@dataclass(frozen=True)
class Config:
    """Certify memorizers of uniform points with random labels, at fractions of the admissible radius."""

    samples: tuple[int, ...] = (10, 100)
    """Numbers of points N, each >= 2."""
    dims: tuple[int, ...] = (2, 10)
    """Dimensions D, each >= 1."""
    ratios: tuple[float, ...] = (0.5, 0.9, 0.99)
    """Radii as fractions of the largest radius that the construction admits, in (0, 1)."""
    seeds: int = 1
    """Independent point sets, >= 1."""
    general_samples: int = 10
    """Largest number of points for which the general tiers run too."""
    general_dim: int = 2
    """Largest dimension for which the general tiers run too."""
    general_neurons: int = 1000
    """Largest number of ReLUs for which the general tiers run too."""
    nodes: int = 1000
    """MILP branch-and-bound nodes for each point, >= 1."""
    broken: int = 12
    """Broken networks of each construction, 0 or more: memorizers of 8 points in the plane with one weight multiplied
    by 0.9 or 1.1."""

    def __post_init__(self) -> None:
        require_sizes(
            least={"samples": 2},
            seeds=self.seeds,
            samples=min(self.samples, default=0),
            dims=min(self.dims, default=0),
        )
        require_cells(seeds=self.seeds, samples=len(self.samples), dims=len(self.dims), ratios=len(self.ratios))
        require_cells(broken=max(self.broken, 1))
        require_points(samples=max(self.samples), dims=max(self.dims))
        if self.broken < 0:
            raise UserError(f"broken must be at least 0, got {self.broken}")
        integer("nodes", self.nodes, low=1)
        for ratio in self.ratios:
            if not 0 < ratio < 1:
                raise UserError(f"ratio must be between 0 and 1, got {ratio:g}: balls meet at 1")

    @classmethod
    def quick(cls) -> Config:
        """Up to 50 points in ten dimensions at two ratios, four broken networks of each construction."""
        return cls(samples=(10, 50), ratios=(0.5, 0.99), broken=4)

    @classmethod
    def paper(cls) -> Config:
        """N up to 1000, D up to 100, three seeds, 100 broken networks of each construction."""
        return cls(samples=(10, 100, 1000), dims=(2, 10, 100), seeds=3, general_dim=10, broken=100)

    @property
    def cells(self) -> list[Cell]:
        """Intact networks first, then broken ones."""
        limits = (self.general_samples, self.general_dim, self.general_neurons, self.nodes)
        pairs = [(norm, name) for norm, names in NORMS.items() for name in names]
        whole = [
            Cell(norm, name, n, d, tuple((ratio, seed) for ratio in self.ratios), False, *limits)
            for norm, name in pairs
            for n in self.samples
            for d in self.dims
            for seed in range(self.seeds)
        ]
        seeds = [range(start, min(start + 20, self.broken)) for start in range(0, self.broken, 20)]
        broken = [
            Cell(norm, name, 8, 2, tuple((0.99, s) for s in some), True, 8, 2, self.general_neurons, self.nodes)
            for norm, name in pairs
            for some in seeds
        ]
        return whole + broken


@dataclass(frozen=True)
class Cell:
    """Memorizers of one construction and size, possibly with one changed weight."""

    norm: Norm
    construction: str
    samples: int
    dim: int
    members: tuple[tuple[float, int], ...]
    """Ratio and seed of each."""
    broken: bool
    general_samples: int
    general_dim: int
    general_neurons: int
    nodes: int

    @property
    def work(self) -> float:
        """Networks."""
        return float(len(self.members))

    @property
    def general(self) -> bool:
        """Whether the point set is small enough for the general tiers."""
        return self.samples <= self.general_samples and self.dim <= self.general_dim


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """One record for each memorizer."""
    return xr.concat((context or PlainContext()).map(examine, config.cells), dim="record", combine_attrs="override")


@threadpool_limits.wrap(limits=1)
def examine(cell: Cell, tick: Tick) -> xr.Dataset:
    """Examine every member."""
    rows = []
    for ratio, seed in cell.members:
        rows.append(examine_one(cell, ratio, seed))
        tick(1.0)
    return as_records(rows)


def examine_one(cell: Cell, ratio: float, seed: int) -> dict[str, Any]:
    """Build a memorizer, break it if asked, and certify it; search broken ones by brute force in the plane."""
    memorizer = make(cell, ratio, seed)
    network = break_weight(memorizer.float_network, seed) if cell.broken else memorizer.float_network
    task = memorizer.task
    row: dict[str, Any] = {
        name: getattr(cell, name) for name in ("norm", "construction", "samples", "dim", "broken")
    } | {"ratio": ratio, "seed": seed}
    row["structural"] = 0.0 if cell.broken else float((structural_margins(memorizer) > 0).mean())
    row["counts_equal"] = not cell.broken and network.size == memorizer.claimed
    row["neurons"] = network.size.neurons
    row["falsified"] = (
        falsify_by_first_layer(network, task.data.points, task.data.labels, task.norm, task.radius) is not None
        if cell.general
        else False
    )
    row |= dict.fromkeys(("general", "certified", "counterexample", "undecided"), 0) | {
        f"tier_{t or 'none'}": 0 for t in TIERS
    }
    if cell.general and network.size.neurons <= cell.general_neurons:
        result = certify(
            network,
            task.data.points,
            task.data.labels,
            task.norm,
            task.radius,
            readout=memorizer.readout,
            tiers=get_args(Tier),
            nodes=cell.nodes,
        )
        row |= {"general": cell.samples, **result.by_status}
        row |= {f"tier_{t or 'none'}": int(((result.tier == t) & (result.status != "undecided")).sum()) for t in TIERS}
        statuses = result.status
    else:
        statuses = np.full(cell.samples, "undecided")
    found = brute_force(network, memorizer) if cell.broken else np.zeros(cell.samples, dtype=bool)
    row["breakable"] = int(found.sum())
    row["caught"] = int((found & (statuses == "counterexample")).sum())
    row["missed"] = int((found & (statuses == "certified")).sum())
    row["network_breakable"] = bool(found.any())
    row["network_caught"] = bool((statuses == "counterexample").any())
    return row


def make(cell: Cell, ratio: float, seed: int) -> Memorizer:
    """One intact memorizer."""
    streams = np.random.SeedSequence(seed, spawn_key=(cell.samples, cell.dim))
    data = random_points(cell.samples, cell.dim, seed=streams)
    wide = memorization_task(data, None, cell.norm, 1e-12)
    radius = ratio * admissible_radius(wide.separation.distance, cell.dim, cell.construction)
    task = memorization_task(data, None, cell.norm, radius, separation=wide.separation)
    return build(task, cell.construction, {"power": 2} if cell.construction == "even_power" else {})


def admissible_radius(separation: float, dim: int, construction: str) -> float:
    """Half the separation; with squares instead of l_inf (even_power), the mu that solves D mu^2 = (lambda - mu)^2."""
    return separation / (1 + np.sqrt(dim)) if construction == "even_power" else separation / 2


def break_weight(network: ReluNetwork, seed: int) -> ReluNetwork:
    """The network with one random non-zero weight multiplied by 0.9 or 1.1."""
    rng = np.random.default_rng(seed)
    weights = [dense(w).copy() for w in network.weights]
    places = [(k, *place) for k, weight in enumerate(weights) for place in np.argwhere(weight)]
    k, i, j = places[rng.integers(len(places))]
    weights[k][i, j] *= rng.choice([0.9, 1.1])
    return ReluNetwork(tuple(weights), network.biases)


def brute_force(network: ReluNetwork, memorizer: Memorizer, side: int = 161) -> np.ndarray:
    """Which balls in the plane have a wrong label at a point of a fine grid or on their boundary; booleans (N,)."""
    task = memorizer.task
    axis = np.linspace(-1, 1, side)
    square = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    angle = np.linspace(0, 2 * np.pi, 1441)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    circle /= length(circle, task.norm)[:, None]
    unit = np.concatenate([square[length(square, task.norm) <= 1], circle * (1 - 1e-9)])
    labels = task.data.labels
    worst = [
        margins(memorizer.readout, network(x + task.radius * unit), np.full(len(unit), y)).min()
        for x, y in zip(task.data.points, labels, strict=True)
    ]
    # Rounding in this evaluation must not count as an error.
    return np.array(worst) < -1e-9 * max(1.0, network.largest_weight)


EXPERIMENT = Experiment("Certificates of robust memorizers, whole and broken", Config, run, one_core_cells=True)
