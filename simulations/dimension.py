"""The transition across dimensions, d from 50 to 10^6: the cost of a step does not depend on d."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro
import xarray as xr

from cgro.base.validate import not_ignored
from cgro.base.work import Context
from cgro.data.patches import require_sizes
from cgro.dynamics.axes import vary
from cgro.dynamics.one_axis import require_variants, train_variants
from cgro.dynamics.setting import PatchSetting
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Config:
    """Train in several dimensions, each with the paper's perturbation radius unless one is given."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(default_factory=PatchSetting)
    """Setting of all runs; dim is replaced."""
    dims: tuple[int, ...] = (50, 100, 200, 400, 1_000, 10_000, 100_000, 1_000_000)
    """Patch dimensions d, each >= 2."""
    seeds: int = 5
    """Independent runs of each dimension, >= 1."""
    records: int = 50
    """Number of recorded steps, >= 2, evenly spaced in log(step)."""
    test_samples: int = 2048
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        not_ignored(self.setting, dim="dims")
        require_sizes(seeds=self.seeds, test_samples=self.test_samples, dims=len(self.dims))
        require_variants(self, self.settings)

    @property
    def settings(self) -> list[PatchSetting]:
        """One setting for each dimension."""
        return [vary(self.setting, "dim", dim) for dim in self.dims]

    @classmethod
    def quick(cls) -> Config:
        """Eight dimensions, three seeds, steps twice as long: a few seconds."""
        return cls(setting=PatchSetting(steps=10_000, learning_rate=0.1), seeds=3)

    @classmethod
    def paper(cls) -> Config:
        """Fourteen dimensions up to 10^9, thirty seeds, five times the steps."""
        dims = (50, 100, 200, 400, 1_000, 2_000, 5_000, 10**4, 3 * 10**4, 10**5, 10**6, 10**7, 10**8, 10**9)
        return cls(setting=PatchSetting(steps=100_000), dims=dims, seeds=30, records=100)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Trajectories with dimensions (dim, seed, step)."""
    return train_variants(context, config, config.settings, "dim", config.dims, "patch dimension d")


EXPERIMENT = Experiment(
    "Dimension: patch dimension d from 50 to a million, noise norm held fixed", Config, run, one_core_cells=True
)
