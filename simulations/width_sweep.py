"""Accuracy against network size: small networks predict a single class, larger ones memorize robustly.

At large radius, narrow networks trained adversarially predict one class for all images. Beyond some width robust
training accuracy rises to 1 while robust test accuracy lags behind. Reference: Li & Li, ICML 2025, arXiv:2306.01271,
Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.work import Context, PlainContext, Tick
from cgro.runs.experiment import Experiment
from cgro.training.config import Repeated, TrainingConfig

KEPT = ("clean_train_accuracy", "robust_train_accuracy", "clean_test_accuracy", "robust_test_accuracy", "train_loss")


@dataclass(frozen=True)
class Config(Repeated):
    """One training run for each width and seed, all else equal; `widths` replaces the width of the training."""

    widths: tuple[float, ...] = (1, 2, 4, 8, 16, 32)
    """Network widths, two or more, increasing."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, four widths, two seeds: half a minute on one CPU core."""
        training = TrainingConfig(
            samples=300, held_out=0, radius_warmup=0.0, epochs=25, evaluate_every=25, evaluation_images=300
        )
        return cls(training, widths=(2, 4, 8, 16))

    @classmethod
    def paper(cls) -> Config:
        """Table 1 on MNIST: LeNet at radius 0.3, all images, no radius warmup; needs a GPU."""
        training = replace(
            TrainingConfig.mnist(), held_out=0, radius_warmup=0.0, epochs=30, evaluate_every=30, evaluation_steps=40
        )
        return cls(training, seeds=3, widths=(1, 2, 4, 8, 12, 16))

    @property
    def cells(self) -> list[TrainingConfig]:
        """One training run for each width and seed, grouped by width."""
        return [replace(run, width=width) for width in self.widths for run in self.runs]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)) or self.widths[0] <= 0:
            raise UserError(f"widths must be two or more, positive and increasing, got {list(self.widths)}")
        _ = self.cells  # validates every training configuration


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies after the last epoch over (width, seed), and parameters over width.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    found = (context or PlainContext()).map(train_end, config.cells)
    shape = (len(config.widths), config.seeds)
    variables: dict[str, Any] = {
        name: (("width", "seed"), np.reshape([float(d[name]) for d in found], shape), _about(name)) for name in KEPT
    }
    parameters = [d.attrs["parameters"] for d in found[:: config.seeds]]
    variables["parameters"] = ("width", parameters, {"long_name": "Parameters", "units": "1"})
    first = config.training.seed
    coords = {
        "width": ("width", list(config.widths), {"long_name": "Width", "units": "1"}),
        "seed": ("seed", range(first, first + config.seeds), {"long_name": "Seed", "units": "1"}),
    }
    attrs = found[0].attrs
    kept = ("data", "model", "method", "norm", "radius", "train_images", "test_images", "test_name", "most_frequent")
    return xr.Dataset(
        variables, coords, {name: attrs[name] for name in kept} | {"radius_warmup": config.training.radius_warmup}
    )


def train_end(cell: TrainingConfig, tick: Tick) -> xr.Dataset:
    """The results of a run after its last epoch."""
    from cgro.training.run import train_cell

    return train_cell(cell, tick).isel(epoch=-1)


def _about(name: str) -> dict[str, str]:
    from cgro.training.run import VARIABLES

    label, units = VARIABLES[name]
    return {"long_name": label, "units": units}


EXPERIMENT = Experiment(
    "Accuracy against the number of parameters under adversarial training", Config, run, one_core_cells=True
)
