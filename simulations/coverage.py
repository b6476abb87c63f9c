"""When does memorization stop being overfitting? Robust test error against coverage of the support.

The CGRO classifier differs from f_clean only near training points, so

    robust error of f^  >=  robust error of f_clean - P[dist_p(X, {X_i}) <= 2 delta + gamma]

and memorization becomes robust generalization only where the training balls cover the support: many points, few
dimensions, a large radius. Derived here [D]; raised as an open question by the reviewers of Li & Li, ICML 2025,
arXiv:2306.01271.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.norms import Norm, require_norm
from cgro.base.work import Context, PlainContext
from cgro.data.patches import require_sizes
from cgro.runs.experiment import Experiment
from cgro.runs.sizes import require_cells, require_points

from . import cgro_construction

AXES = ("samples", "dim", "radius")


@dataclass(frozen=True)
class Config:
    """Vary one of N, D and the radius at a time, in each norm."""

    samples: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000)
    """Numbers of training points of the first axis, each >= 4."""
    dims: tuple[int, ...] = (2, 3, 4, 6, 8, 12, 16)
    """Dimensions D of the second axis, each >= 2."""
    radii: tuple[float, ...] = (0.02, 0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.235)
    """Perturbation radii of the third axis, > 0 and at most 0.24: two radii and a shell must fit into the separation
    0.5."""
    norms: tuple[Norm, ...] = ("1", "2", "inf")
    """Norms of the perturbation: 1, 2, inf."""
    fixed_samples: int = 300
    """N when it is not varied, >= 4."""
    fixed_dim: int = 4
    """D when it is not varied, >= 2."""
    fixed_radius: float = 0.15
    """Radius when it is not varied, > 0 and at most 0.24."""
    test_samples: int = 500
    """Fresh points for each test error, >= 1."""
    attack_points: int = 20
    """Points that the attack tries in each ball, >= 1."""
    seeds: int = 2
    """Independent training and test sets, >= 1."""

    def __post_init__(self) -> None:
        require_sizes(
            least={"samples": 4, "dims": 2},
            seeds=self.seeds,
            test_samples=self.test_samples,
            attack_points=self.attack_points,
            samples=min((self.fixed_samples, *self.samples)),
            dims=min((self.fixed_dim, *self.dims)),
        )
        require_cells(seeds=self.seeds, norms=len(self.norms), **{"samples, dims and radii": len(self.places)})
        largest = max((self.fixed_dim, *self.dims))
        require_points(samples=max((self.fixed_samples, *self.samples)), fixed_dim=self.fixed_dim)
        for name in ("fixed_samples", "test_samples", "attack_points"):
            require_points(**{name: getattr(self, name)}, dims=largest)
        for norm in self.norms:
            require_norm(norm)
        for radius in (self.fixed_radius, *self.radii):
            if not 0 < radius <= 0.24:
                raise UserError(f"radius must be above 0 and at most 0.24, got {radius:g}: the separation is 0.5")

    @classmethod
    def quick(cls) -> Config:
        """Two seeds, up to 1,000 training points; about ten seconds."""
        return cls(samples=(10, 30, 100, 300, 1000), test_samples=200, attack_points=12)

    @classmethod
    def paper(cls) -> Config:
        """Ten seeds, up to 10,000 training points."""
        return cls(samples=(10, 30, 100, 300, 1000, 3000, 10_000), test_samples=2000, seeds=10)

    @property
    def places(self) -> list[tuple[str, int, int, float]]:
        """(axis, N, D, radius) of every point of every axis."""
        return [
            *(("samples", n, self.fixed_dim, self.fixed_radius) for n in self.samples),
            *(("dim", self.fixed_samples, d, self.fixed_radius) for d in self.dims),
            *(("radius", self.fixed_samples, self.fixed_dim, r) for r in self.radii),
        ]


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Errors of f_clean and the CGRO classifier, and coverage, over (norm, place, seed)."""
    base = cgro_construction.Config(
        test_samples=config.test_samples, attack_points=config.attack_points, verified=0, margin=0.01, spread=0.05
    )
    cells = [
        replace(base, samples=n, radius=radius).cell(dim, norm, seed)
        for norm in config.norms
        for _, n, dim, radius in config.places
        for seed in range(config.seeds)
    ]
    results = (context or PlainContext()).map(cgro_construction.measure, cells)
    found = xr.concat(results, dim="cell", combine_attrs="override")
    shape = (len(config.norms), len(config.places), config.seeds)
    variables: dict[str, Any] = {
        str(name): (("norm", "place", "seed", *v.dims[1:]), v.values.reshape(*shape, *v.shape[1:]), v.attrs)
        for name, v in found.data_vars.items()
    }
    for k, name in enumerate(("axis", "samples", "dim", "radius")):
        variables[name] = ("place", np.array([place[k] for place in config.places]), {"long_name": name})
    return xr.Dataset(
        variables,
        {
            "norm": ("norm", list(config.norms), {"long_name": "Norm of the perturbation"}),
            "seed": ("seed", list(range(config.seeds)), {"long_name": "Seed"}),
            "classifier": list(cgro_construction.CLASSIFIERS),
        },
    )


EXPERIMENT = Experiment("Coverage: when memorization stops being overfitting", Config, run, one_core_cells=True)
