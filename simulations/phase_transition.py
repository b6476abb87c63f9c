"""Three phases of adversarial training: signal growth, signal stall, noise memorization.

Reference: Li & Li, ICML 2025, arXiv:2306.01271, Theorem 5.9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro
import xarray as xr

from cgro.base.machine import require_device
from cgro.base.work import Context
from cgro.data.patches import require_sizes
from cgro.dynamics.memory import require_sweep
from cgro.dynamics.runs import EngineName
from cgro.dynamics.setting import PatchSetting
from cgro.dynamics.sweep import BLOCK, train_settings
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Config:
    """Train one setting with several seeds and record the whole trajectory."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(default_factory=PatchSetting)
    """Data, model, attack and optimizer."""
    seeds: int = 10
    """Independent runs, >= 1, seeded 0, 1, ..."""
    records: int = 120
    """Number of recorded steps, >= 2, evenly spaced in log(step)."""
    test_samples: int = 2048
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    engine: EngineName = "gram"
    """Engine. gram: reduced variables, cost independent of d; direct: d-dimensional weights and autograd."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        require_device(self.device)
        require_sizes(seeds=self.seeds, test_samples=self.test_samples)
        require_sweep(
            [self.setting],
            count=1,
            seeds=self.seeds,
            records=self.records,
            test_samples=self.test_samples,
            together=BLOCK,
            detail=True,
            direct=self.engine == "direct",
        )

    @classmethod
    def quick(cls) -> Config:
        """Ten seeds of the reference setting with a small step: a few seconds."""
        return cls(setting=PatchSetting(learning_rate=0.02, steps=25_000))

    @classmethod
    def paper(cls) -> Config:
        """Fifty seeds, four times the steps, about two minutes on two cores."""
        return cls(setting=PatchSetting(learning_rate=0.01, steps=200_000), seeds=50, records=200, test_samples=8192)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Trajectories with dimensions (seed, step, filter, sample) and the detected phase times of each seed."""
    result = train_settings(
        context,
        [config.setting],
        range(config.seeds),
        engine=config.engine,
        records=config.records,
        test_samples=config.test_samples,
        detail=True,
        device=config.device,
    )
    return result.isel(setting=0)


EXPERIMENT = Experiment(
    "Phase transition: one setting, several seeds, the whole trajectory", Config, run, one_core_cells=True
)
