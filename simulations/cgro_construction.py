"""The CGRO classifier on synthetic data: clean error 0, certified robust training error 0, robust test error 1.

The classes are far apart, in a checkerboard pattern, and one weak coordinate also tells them apart. f_clean reads only
that coordinate: its clean error is 0, and its robust error is 1 beyond the margin. Reference: Li & Li, ICML 2025,
arXiv:2306.01271, Theorem 4.4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr
from scipy import sparse
from threadpoolctl import threadpool_limits

from cgro.base.errors import UserError
from cgro.base.norms import Norm, distances, require_norm
from cgro.base.work import Context, PlainContext, Tick
from cgro.certify.certify import certify
from cgro.certify.structural import structural_margins
from cgro.data.patches import require_sizes
from cgro.data.separated import weak_coordinate
from cgro.data.separation import LabelledPoints
from cgro.memorizers.gated import cgro_classifier
from cgro.memorizers.task import Memorizer, memorization_task
from cgro.networks.relu import ReluNetwork
from cgro.runs.experiment import Experiment
from cgro.runs.sizes import require_cells, require_points

CLASSIFIERS = ("clean", "cgro")
VARIABLES = {
    "clean_test_error": "Clean test error",
    "robust_train_error": "Robust training error under the attack on f_clean",
    "robust_test_error": "Robust test error, at least",
}


@dataclass(frozen=True)
class Config:
    """f_clean and the CGRO classifier built on it, in several dimensions and norms."""

    dims: tuple[int, ...] = (4, 6, 8, 16, 64, 256, 1024)
    """Dimensions D, each >= 2."""
    norms: tuple[Norm, ...] = ("1", "2", "inf")
    """Norms of the perturbation: 1, 2, inf."""
    samples: int = 200
    """Training points N, >= 4."""
    radius: float = 0.15
    """Perturbation radius in the norm, > 0; coordinates lie in [0, 1]."""
    margin: float = 0.02
    """Smallest margin of the weak coordinate, > 0."""
    spread: float = 0.1
    """Largest margin minus smallest margin, >= 0; f_clean has robust error 1 from radius margin + spread on."""
    separation: float = 0.5
    """Distance between the classes in every norm, in (0, 1)."""
    shell: float = 0.02
    """Width of the shell around each ball in which the gate closes, > 0; 2 radius + shell is at most the separation."""
    test_samples: int = 1000
    """Fresh points for each test error, >= 1."""
    attack_points: int = 20
    """Points that the attack tries in each ball, >= 1."""
    verified: int = 20
    """Number of training points certified a second time in l_inf, by interval bounds from the weights; 0 or more."""
    seeds: int = 3
    """Independent training and test sets, >= 1."""

    def __post_init__(self) -> None:
        require_sizes(
            least={"samples": 4, "dims": 2, "verified": 0},
            verified=self.verified,
            samples=self.samples,
            seeds=self.seeds,
            test_samples=self.test_samples,
            attack_points=self.attack_points,
            dims=min(self.dims, default=0),
        )
        require_cells(seeds=self.seeds, dims=len(self.dims), norms=len(self.norms))
        for name in ("samples", "test_samples", "attack_points"):
            require_points(**{name: getattr(self, name)}, dims=max(self.dims))
        for norm in self.norms:
            require_norm(norm)
        if not (self.radius > 0 and self.shell > 0 and 2 * self.radius + self.shell <= self.separation < 1):
            raise UserError(
                "radius, shell and separation must be positive with 2 radius + shell <= separation < 1, got "
                f"{self.radius:g}, {self.shell:g} and {self.separation:g}"
            )

    @classmethod
    def quick(cls) -> Config:
        """Seven dimensions, three norms, one data set each; about ten seconds."""
        return cls(samples=100, test_samples=200, attack_points=6, seeds=1)

    @classmethod
    def paper(cls) -> Config:
        """1,000 training points, ten seeds."""
        return cls(samples=1000, dims=(4, 8, 16, 32, 64, 100, 128, 256, 512, 1024), test_samples=5000, seeds=10)

    def cell(self, dim: int, norm: Norm, seed: int) -> Cell:
        """One data set."""
        shared = {k: v for k, v in asdict(self).items() if k not in ("dims", "norms", "seeds")}
        return Cell(**shared, dim=dim, norm=norm, seed=seed)


@dataclass(frozen=True)
class Cell:
    """One data set and its two classifiers."""

    samples: int
    radius: float
    margin: float
    spread: float
    separation: float
    shell: float
    test_samples: int
    attack_points: int
    verified: int
    dim: int
    norm: Norm
    seed: int

    @property
    def work(self) -> float:
        """Training points times dimensions."""
        return float(self.samples * self.dim)

    def draw(self, count: int, seed: np.random.SeedSequence) -> LabelledPoints:
        """Draw points from the distribution."""
        separated = min(self.dim - 1, 30)
        return weak_coordinate(
            count,
            self.dim,
            margin=self.margin,
            separation=self.separation,
            spread=self.spread,
            informative=separated,
            seed=seed,
        )


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Errors, certificates and network sizes over (norm, dim, seed)."""
    cells = [
        config.cell(dim, norm, seed) for norm in config.norms for dim in config.dims for seed in range(config.seeds)
    ]
    found = xr.concat((context or PlainContext()).map(measure, cells), dim="cell", combine_attrs="override")
    shape = (len(config.norms), len(config.dims), config.seeds)
    labels: dict[str, Any] = {
        "norm": ("norm", list(config.norms), {"long_name": "Norm of the perturbation"}),
        "dim": ("dim", list(config.dims), {"long_name": "Dimension D"}),
        "seed": ("seed", list(range(config.seeds)), {"long_name": "Seed"}),
    }
    variables = {
        name: (("norm", "dim", "seed", *v.dims[1:]), v.values.reshape(*shape, *v.shape[1:]), v.attrs)
        for name, v in found.data_vars.items()
    }
    return xr.Dataset(variables, labels | {"classifier": list(CLASSIFIERS)}, {"samples": config.samples})


@threadpool_limits.wrap(limits=1)
def measure(cell: Cell, tick: Tick) -> xr.Dataset:
    """Build, certify and attack the classifier of one data set."""
    train_seed, test_seed, attack_seed = np.random.SeedSequence(cell.seed, spawn_key=(cell.dim,)).spawn(3)
    train, test = cell.draw(cell.samples, train_seed), cell.draw(cell.test_samples, test_seed)
    task = memorization_task(train, None, cell.norm, cell.radius)
    clean = weak_classifier(cell.dim)
    gated = cgro_classifier(task, clean=clean, shell=cell.shell, domain=(-0.5, 1.5))
    networks = (clean, gated.float_network)
    rng = np.random.default_rng(attack_seed)
    errors = {
        "clean_test_error": [clean_error(n, test) for n in networks],
        "robust_train_error": [attacked_error(n, train, cell, rng) for n in networks],
        "robust_test_error": [attacked_error(n, test, cell, rng) for n in networks],
    }
    nearest = np.concatenate([distances(part, train.points, cell.norm).min(axis=1) for part in _parts(test.points)])
    reach = 2 * cell.radius + cell.shell
    certified = structural_margins(gated) > 0
    scalars = {
        "certified_train_accuracy": (float(certified.mean()), "Certified robust training accuracy", "fraction"),
        "verified_accuracy": (_verify(gated, cell.verified), "Certified again, by bounds on the weights", "fraction"),
        "coverage": (float((nearest <= reach).mean()), "Test points within 2 radius + shell of a training point", ""),
        "separation": (task.separation.distance, "Separation of different labels", "input unit"),
        "nonzero": (gated.network.size.nonzero, "Non-zero parameters of the CGRO classifier", "1"),
        "nonzero_claimed": (gated.claimed.nonzero, "Bound of the construction", "1"),
        "total": (gated.network.size.total, "Parameters of dense layers of the same widths", "1"),
    }
    tick(cell.work)
    return xr.Dataset(
        {
            **{
                name: (("classifier",), errors[name], {"long_name": label, "units": "fraction"})
                for name, label in VARIABLES.items()
            },
            **{name: ((), x, {"long_name": label, "units": units}) for name, (x, label, units) in scalars.items()},
        }
    )


def weak_classifier(dim: int) -> ReluNetwork:
    """f_clean(x) = x_0."""
    return ReluNetwork((sparse.csr_array(([1.0], ([0], [0])), shape=(1, dim)),), (np.zeros(1),))


def clean_error(network: ReluNetwork, data: LabelledPoints) -> float:
    """Fraction of points with the wrong sign."""
    return float((data.labels * network(data.points)[:, 0] <= 0).mean())


def attacked_error(network: ReluNetwork, data: LabelledPoints, cell: Cell, rng: np.random.Generator) -> float:
    """Fraction of points with the wrong sign at some tried point of their ball: a lower bound on the robust error.

    The weak coordinate is moved by `moved` against the label, the strongest attack on f_clean. The rest of the radius
    goes to random directions, to leave the balls of training points, where the gate gives the correct label.
    """
    wrong = np.zeros(data.size, dtype=bool)
    for k in range(cell.attack_points):
        left = np.flatnonzero(~wrong)
        if not len(left):
            break
        x, y = data.points[left], data.labels[left]
        noise = rng.standard_normal(x.shape) if k else np.zeros(x.shape)
        noise[:, 0] = 0
        # Crossing the boundary costs |x_0|; try just that, and the full radius.
        moved = cell.radius if k % 2 == 0 else np.minimum(np.abs(x[:, 0]) + 1e-6, cell.radius)
        z = x + _within(noise, cell.radius - (0 if cell.norm == "inf" else moved), cell)
        if cell.norm == "2":
            z = x + _within(noise, np.sqrt(np.maximum(cell.radius**2 - np.square(moved), 0)), cell)
        z[:, 0] = x[:, 0] - y * moved
        wrong[left] = y * network(z)[:, 0] <= 0
    return float(wrong.mean())


def _within(noise: np.ndarray, radius: Any, cell: Cell) -> np.ndarray:
    """The noise scaled to the radius; in l_inf only its signs are used."""
    radius = np.broadcast_to(radius, len(noise))[:, None] * (1 - 1e-12)
    if cell.norm == "inf":
        return np.sign(noise) * radius
    size = np.linalg.norm(noise, ord=1 if cell.norm == "1" else 2, axis=1, keepdims=True)
    return noise / np.where(size > 0, size, 1) * radius


def _verify(gated: Memorizer, count: int) -> float:
    points, labels = gated.task.data.points[:count], gated.task.data.labels[:count]
    if not count or gated.task.norm != "inf":
        return float("nan")
    result = certify(gated.float_network, points, labels, "inf", gated.task.radius, tiers=("interval",))
    return float(result.certified.mean())


def _parts(points: np.ndarray, rows: int = 500) -> list[np.ndarray]:
    return [points[start : start + rows] for start in range(0, len(points), rows)]


EXPERIMENT = Experiment(
    "The CGRO classifier: clean generalization and robust overfitting by construction", Config, run, one_core_cells=True
)
