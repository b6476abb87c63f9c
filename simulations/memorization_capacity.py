"""The smallest trained network that memorizes robustly, against the number of points and the dimension.

At constant robustness ratio, counting arguments show that sqrt(N D) parameters are needed, up to logarithms, and
constructions show that N D suffice. What does adversarial training find? It gives an upper bound on what is needed,
since it may miss a smaller network. The bound is empirical: a network counts if neither PGD nor the certifier's
falsifier breaks a point. The fraction of points certified by bounds is reported as well.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.machine import require_device, resolve_device, single_thread
from cgro.base.validate import integer, one_of
from cgro.base.work import Context, PlainContext, Tick
from cgro.certify.certify import Certificate, certify
from cgro.data.patches import require_sizes
from cgro.data.separated import largest_separation, random_points, random_separated
from cgro.data.separation import LabelledPoints, opposite_separation
from cgro.measures.scaling import power_law
from cgro.networks.relu import ReluNetwork
from cgro.runs.experiment import Experiment
from cgro.runs.sizes import require_cells, require_networks, require_points

Labels = Literal["random", "linear", "prototypes"]
AXES = ("samples", "dim")
PROTOTYPES = 4


@dataclass(frozen=True)
class Config:
    """Vary N and D one at a time; bisect over widths, training many networks at once."""

    samples: tuple[int, ...] = (5, 10, 20, 40)
    """Numbers of points N of the first axis, each >= 2."""
    dims: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Dimensions D of the second axis, each >= 1."""
    fixed_samples: int = 20
    """N when it is not varied, >= 2."""
    fixed_dim: int = 8
    """D when it is not varied, >= 1."""
    labels: tuple[Labels, ...] = ("random", "linear", "prototypes")
    """Labels. random: coin tosses; linear: a hyperplane is robust; prototypes: clusters around four points, two of each
    label."""
    ratio: float = 0.5
    """Robustness ratio rho = 2 radius / separation, in (0, 1)."""
    norm: Literal["inf", "2"] = "2"
    """Norm of the perturbation: inf or 2."""
    depth: int = 2
    """Number of affine layers, >= 2."""
    largest_width: int = 63
    """Largest width of the search, which starts at 1; >= 1."""
    restarts: int = 4
    """Training runs of each candidate, >= 1; one success is enough."""
    descents: int = 4
    """Rounds after the bisection that try one neuron less than the best so far, 0 or more."""
    steps: int = 500
    """Steps of adversarial training, >= 1."""
    milp_nodes: int = 0
    """MILP branch-and-bound nodes for each point that linear bounds leave undecided, 0 or more; 0 runs no MILP."""
    seeds: int = 3
    """Independent data sets, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda; on a CPU results depend only on the seed."""

    def __post_init__(self) -> None:
        require_device(self.device)
        require_sizes(
            least={"descents": 0, "depth": 2, "samples": 2},
            seeds=self.seeds,
            restarts=self.restarts,
            descents=self.descents,
            steps=self.steps,
            largest_width=self.largest_width,
            depth=self.depth,
            fixed_dim=self.fixed_dim,
            dims=min((self.fixed_dim, *self.dims)),
            samples=min((self.fixed_samples, *self.samples)),
        )
        require_cells(seeds=self.seeds, labels=len(self.labels))
        for _, N, D in self.places:
            require_points(restarts=self.restarts, samples=N, dims=D)
            require_networks(D, self.largest_width, self.depth, restarts=self.restarts)
        if not 0 < self.ratio < 1:
            raise UserError(f"ratio must be between 0 and 1, got {self.ratio:g}: balls meet at 1")
        one_of("norm", self.norm, ("inf", "2"))
        integer("milp_nodes", self.milp_nodes, low=0)
        for kind in self.labels:
            one_of("labels", kind, get_args(Labels))

    @classmethod
    def quick(cls) -> Config:
        """Random and linear labels, three values of N and D, two seeds: about ten seconds."""
        return cls(
            samples=(5, 10, 20),
            dims=(4, 8, 16),
            labels=("random", "linear"),
            restarts=2,
            descents=1,
            steps=200,
            largest_width=23,
            seeds=2,
        )

    @classmethod
    def paper(cls) -> Config:
        """Up to 320 points and 128 dimensions, ten seeds, more training; needs a GPU."""
        return cls(
            samples=(5, 10, 20, 40, 80, 160, 320),
            dims=(2, 4, 8, 16, 32, 64, 128),
            fixed_samples=40,
            largest_width=511,
            restarts=8,
            descents=10,
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
    """All sizes for one kind of labels and one seed: one stack of networks."""

    kind: Labels
    sizes: tuple[tuple[int, int], ...]
    ratio: float
    norm: Literal["inf", "2"]
    depth: int
    largest_width: int
    restarts: int
    descents: int
    steps: int
    milp_nodes: int
    device: str
    seed: int

    @property
    def work(self) -> float:
        """Rounds of training."""
        from cgro.training.capacity import rounds

        return float(rounds(self.ladder) + self.descents)

    @property
    def ladder(self) -> tuple[int, ...]:
        """Candidate widths."""
        return tuple(range(1, self.largest_width + 1))


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Smallest width, its parameters and accuracies over (labels, seed, place); -1 and NaN where the widest failed.

    Also power laws of the parameters along each axis, over (labels, vary); NaN where fewer than three searches remain.
    """
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
    names = {"axis": "What is varied", "samples": "Points N", "dim": "Dimension D"}
    for k, (name, label) in enumerate(names.items()):
        variables[name] = ("place", np.array([place[k] for place in config.places]), {"long_name": label, "units": "1"})
    coords: dict[str, Any] = {"labels": list(config.labels), "seed": list(range(config.seeds))}
    attrs = {"ratio": config.ratio, "norm": config.norm, "depth": config.depth, "largest_width": config.largest_width}
    return with_power_laws(xr.Dataset(variables, coords, attrs))


def with_power_laws(result: xr.Dataset) -> xr.Dataset:
    """Add exponents of the parameters in N and D with 95 % intervals.

    A place with a failed search is left out: its successes alone would bias the fit towards small networks.
    """
    laws = np.full((result.sizes["labels"], len(AXES), 4), np.nan)
    for i in range(result.sizes["labels"]):
        for k, axis in enumerate(AXES):
            part = result[["parameters", axis]].isel(labels=i, place=np.flatnonzero(result["axis"].values == axis))
            values = part["parameters"].transpose("seed", "place").values.astype(float)
            whole = (values > 0).all(axis=0)
            x = np.broadcast_to(part[axis].values[whole], values[:, whole].shape).ravel()
            y = values[:, whole].ravel()
            if len(x) < 3 or len(np.unique(x)) < 2:
                continue
            if (y == y[0]).all():  # The fit is exact and has no error to estimate.
                laws[i, k] = 0.0, 0.0, 0.0, y[0]
                continue
            law = power_law(x, y)
            laws[i, k] = law.exponent, law.low, law.high, law.factor
    names = {
        "exponent": "Exponent of the parameters",
        "exponent_low": "Lower end of its 95 % interval",
        "exponent_high": "Upper end of its 95 % interval",
        "factor": "Factor of the power law",
    }
    return result.assign(
        {
            name: (("labels", "vary"), laws[..., k], {"long_name": label, "units": "1"})
            for k, (name, label) in enumerate(names.items())
        }
    ).assign_coords(vary=list(AXES))


@threadpool_limits.wrap(limits=1)
@single_thread()
def search(cell: Cell, tick: Tick) -> xr.Dataset:
    """Bisect over widths for all sizes at once, then attack and certify the networks found."""
    import torch

    from cgro.attacks.ball import Budget
    from cgro.training.capacity import Stack, attacked_accuracy, smallest_widths

    device = resolve_device(cell.device)
    sets = []
    for samples, dim in cell.sizes:
        seed = np.random.SeedSequence(cell.seed, spawn_key=(samples, dim))
        data = draw(cell.kind, samples, dim, cell.norm, cell.ratio, seed)
        separation = opposite_separation(data, cell.norm).distance
        sets.append((data.points, data.labels, cell.ratio * separation / 2))

    def examine(b: int, network: ReluNetwork, milp_nodes: int = 0) -> Certificate:
        points, labels, radius = sets[b]
        if milp_nodes:
            return certify(network, points, labels, cell.norm, radius, nodes=milp_nodes)
        return certify(network, points, labels, cell.norm, radius, tiers=("interval", "linear"))

    def attack(b: int, network: ReluNetwork, stream: int, **strength: int) -> float:
        points, labels, radius = sets[b]
        generator = torch.Generator().manual_seed((stream << 32) + cell.seed)
        return attacked_accuracy(network, points, labels, Budget(cell.norm, radius), generator=generator, **strength)

    def unbroken(b: int, network: ReluNetwork) -> bool:
        broken = examine(b, network).by_status["counterexample"]
        return not broken and attack(b, network, 1, steps=20, starts=3) == 1

    widths, networks = smallest_widths(
        Stack.of(sets, device),
        cell.ladder,
        norm=cell.norm,
        depth=cell.depth,
        restarts=cell.restarts,
        steps=cell.steps,
        descents=cell.descents,
        generator=torch.Generator().manual_seed(cell.seed),
        accept=unbroken,
        after_round=lambda: tick(1.0),
    )
    attacked, certified = np.full((2, len(sets)), np.nan)
    for b, network in enumerate(networks):
        if network is not None:
            attacked[b] = attack(b, network, 2)
            certified[b] = examine(b, network, cell.milp_nodes).certified.mean()
    parameters = [-1 if network is None else network.size.total for network in networks]
    return xr.Dataset(
        {
            "width": ("place", widths, {"long_name": "Smallest width found", "units": "neurons"}),
            "parameters": ("place", parameters, {"long_name": "Parameters of that network", "units": "1"}),
            "attacked": ("place", attacked, {"long_name": "Points that PGD leaves right", "units": "fraction"}),
            "certified": ("place", certified, {"long_name": "Points certified by bounds", "units": "fraction"}),
            "radius": ("place", [r for *_, r in sets], {"long_name": "Perturbation radius", "units": "input unit"}),
        }
    )


def draw(
    kind: Labels, samples: int, dim: int, norm: Literal["inf", "2"], ratio: float, seed: np.random.SeedSequence
) -> LabelledPoints:
    """N points in D dimensions with labels of a kind, uniform in the unit cube except for prototypes."""
    if kind == "prototypes":
        return clusters(samples, dim, norm, seed)
    data = random_points(samples, dim, seed=seed)
    return data if kind == "random" else linear(data, norm, ratio)


def linear(data: LabelledPoints, norm: Literal["inf", "2"], ratio: float) -> LabelledPoints:
    """The points, moved to the two sides of a hyperplane that is robust at the robustness ratio (1 + ratio) / 2.

    Both halves are moved away from x_1 + ... + x_D = D / 2 until the hyperplane's margin in the norm is large enough.
    One ReLU then memorizes robustly for any N and D.
    """
    dim = data.dim
    normal = np.ones(dim) / np.sqrt(dim)
    side = (data.points - 0.5) @ normal
    # Half of the points on each side.
    labels = np.where(np.argsort(np.argsort(side)) >= data.size // 2, 1, -1)
    centre = (side[labels == 1].min() + side[labels == -1].max()) / 2
    # Margin in l_p is the l_2 margin over the dual norm of the normal.
    dual = np.sqrt(dim) if norm == "inf" else 1.0
    moved = 0.1
    while True:
        points = data.points + (moved * labels - centre)[:, None] * normal
        margin = (moved + np.abs(side - centre).min()) / dual
        separated = LabelledPoints(points, labels)
        if margin >= (1 + ratio) / 2 * opposite_separation(separated, norm).distance / 2:
            return separated
        moved *= 1.25


def clusters(samples: int, dim: int, norm: Literal["inf", "2"], seed: np.random.SeedSequence) -> LabelledPoints:
    """Points near four prototypes with alternating labels, within a tenth of the prototypes' separation."""
    places, noise = seed.spawn(2)
    apart = 0.8 * largest_separation(PROTOTYPES, dim, norm)
    prototypes = random_separated(PROTOTYPES, dim, norm, apart, seed=places).points
    which = np.arange(samples) % PROTOTYPES
    reach = 0.1 * apart / (np.sqrt(dim) if norm == "2" else 1.0)
    jitter = np.random.default_rng(noise).uniform(-reach, reach, (samples, dim))
    return LabelledPoints(prototypes[which] + jitter, 1 - 2 * (which % 2))


EXPERIMENT = Experiment(
    "Capacity: the smallest trained network that memorizes robustly", Config, run, one_core_cells=True
)
