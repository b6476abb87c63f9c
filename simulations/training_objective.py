"""Adversarial training causes memorization: the weight of the adversarial loss varies from 0 (standard) to 1."""

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
    """Train with several weights of the adversarial loss."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(default_factory=PatchSetting)
    """Setting of all runs; adversarial_weight is replaced."""
    weights: tuple[float, ...] = (0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
    """Adversarial weights lambda, each in [0, 1]."""
    seeds: int = 5
    """Independent runs of each weight, >= 1."""
    records: int = 50
    """Number of recorded steps, >= 2, evenly spaced in log(step)."""
    test_samples: int = 2048
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        not_ignored(self.setting, adversarial_weight="weights")
        require_sizes(seeds=self.seeds, test_samples=self.test_samples, weights=len(self.weights))
        require_variants(self, self.settings)

    @property
    def settings(self) -> list[PatchSetting]:
        """One setting for each weight."""
        return [vary(self.setting, "adversarial_weight", weight) for weight in self.weights]

    @classmethod
    def quick(cls) -> Config:
        """Nine weights, three seeds, steps twice as long: a few seconds."""
        return cls(setting=PatchSetting(steps=10_000, learning_rate=0.1), seeds=3)

    @classmethod
    def paper(cls) -> Config:
        """Twenty-one weights, thirty seeds, five times the steps."""
        weights = tuple(k / 20 for k in range(21))
        return cls(setting=PatchSetting(steps=100_000), weights=weights, seeds=30, records=100)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Trajectories with dimensions (weight, seed, step)."""
    name = "weight of the adversarial loss, lambda"
    return train_variants(context, config, config.settings, "weight", config.weights, name)


EXPERIMENT = Experiment(
    "Training objective: standard against adversarial training, lambda from 0 to 1", Config, run, one_core_cells=True
)
