"""The transition does not depend on the cubic activation: other exponents q, and ReLU^q with untied filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro
import xarray as xr

from cgro.base.validate import not_ignored
from cgro.base.work import Context
from cgro.data.patches import require_sizes
from cgro.dynamics.activations import Activation
from cgro.dynamics.one_axis import require_variants, train_variants
from cgro.dynamics.setting import PatchSetting
from cgro.runs.experiment import Experiment


@dataclass(frozen=True)
class Config:
    """Train with several activations, named `odd-q` and `relu-q`."""

    setting: Annotated[PatchSetting, tyro.conf.arg(name="")] = field(default_factory=PatchSetting)
    """Setting of all runs; activation and exponent are replaced."""
    odd: tuple[float, ...] = (2.0, 2.5, 3.0, 4.0)
    """Exponents q >= 2 of sgn(z)|z|^q."""
    relu: tuple[float, ...] = (2.0, 3.0)
    """Exponents q >= 2 of max(z, 0)^q."""
    seeds: int = 5
    """Independent runs of each activation, >= 1."""
    records: int = 50
    """Number of recorded steps, >= 2, evenly spaced in log(step)."""
    test_samples: int = 2048
    """Monte Carlo draws of a fresh sample for each test error, >= 1."""
    device: str = "auto"
    """Device: auto, cpu or cuda."""

    def __post_init__(self) -> None:
        not_ignored(self.setting, activation="odd and relu", exponent="odd and relu")
        require_sizes(seeds=self.seeds, test_samples=self.test_samples, activations=len(self.odd) + len(self.relu))
        require_variants(self, self.settings)

    @property
    def kinds(self) -> Sequence[tuple[Activation, float]]:
        """The activations, by kind and exponent."""
        return [("odd", q) for q in self.odd] + [("relu", q) for q in self.relu]

    @property
    def settings(self) -> list[PatchSetting]:
        """One setting for each activation."""
        return [replace(self.setting, activation=kind, exponent=q) for kind, q in self.kinds]

    @classmethod
    def quick(cls) -> Config:
        """Six activations, two seeds, steps twice as long: a few seconds."""
        return cls(setting=PatchSetting(steps=10_000, learning_rate=0.1), seeds=2)

    @classmethod
    def paper(cls) -> Config:
        """Eleven activations, twenty seeds, five times the steps: about an hour, since non-integer powers are slow."""
        return cls(
            setting=PatchSetting(steps=100_000),
            odd=(2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0),
            relu=(2.0, 2.5, 3.0, 4.0),
            seeds=20,
            records=100,
        )


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Trajectories with dimensions (activation, seed, step)."""
    names = [f"{kind}-{q:g}" for kind, q in config.kinds]
    return train_variants(context, config, config.settings, "activation", names, "activation and exponent q")


EXPERIMENT = Experiment(
    "Activation: exponents q of sgn(z)|z|^q, and ReLU^q with fixed output signs", Config, run, one_core_cells=True
)
