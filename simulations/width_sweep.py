"""Accuracy against the size of the network: small ones stay at a constant answer, larger ones memorize robustly.

At large radius narrow networks trained adversarially predict one class for all images; beyond some width robust
training accuracy rises to 1, robust test accuracy stays behind. Reference: Li & Li, ICML 2025, Table 1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from cgro.data.images import ImageName
from cgro.experiment import Context, PlainContext, Tick, UserError
from cgro.networks.zoo import ModelName
from cgro.training.config import TrainingConfig
from cgro.training.run import VARIABLES, train_cell
from cgro.training.schedules import ScheduleName

ONE_CORE_CELLS = True
TITLE = "Accuracy against the number of parameters under adversarial training"
KEPT = ("clean_train_accuracy", "robust_train_accuracy", "clean_test_accuracy", "robust_test_accuracy", "train_loss")


@dataclass(frozen=True)
class Config:
    """One training run for each width and seed, all else equal."""

    widths: tuple[float, ...] = (1, 2, 4, 8, 16, 32)
    """Widths of the network, two or more, increasing."""

    data: ImageName = "digits"
    """Images: digits, mnist, cifar10 or cifar100, from folder CGRO_DATA."""

    samples: int = 400
    """Training images, a random subset of equal class shares; 0: all."""

    model: ModelName = "small-cnn"
    """Network."""

    radius: float = 0.15
    """l_inf radius of perturbations in units of pixels in [0, 1]."""

    ramp: float = 0.0
    """Share of the training over which the radius rises to its full size, 0 to 1; rising, narrower networks train."""

    attack_steps: int = 5
    """PGD steps for each training batch, 1 or more."""

    epochs: int = 25
    """Passes over the training images, 1 or more."""

    batch_size: int = 32
    """Images in a batch, 1 or more."""

    learning_rate: float = 0.05
    """Largest learning rate of SGD, above 0."""

    schedule: ScheduleName = "cyclic"
    """Learning rate: cyclic, piecewise, cosine or constant."""

    weight_decay: float = 0.0
    """Weight decay, 0 or more."""

    evaluation_images: int = 1000
    """Images of each part to evaluate at most, 10 or more."""

    evaluation_steps: int = 10
    """PGD steps of the evaluation: they begin at the radius and shrink, from 2 starts."""

    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu or cuda; bits repeat on a CPU only."""

    seeds: int = 2
    """Independent runs for each width, 1 or more."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, six widths, two seeds: a minute and a half of one CPU core."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """Table 1 on MNIST: LeNet at radius 0.3, all images, no ramp; needs a GPU."""
        return cls(
            widths=(1, 2, 4, 8, 12, 16), data="mnist", samples=0, model="lenet", radius=0.3, attack_steps=10, epochs=30,
            batch_size=128, evaluation_images=10_000, evaluation_steps=40, seeds=3,
        )  # fmt: skip

    @property
    def cells(self) -> list[TrainingConfig]:
        """One training run for each width and seed, widths first."""
        shared: dict[str, Any] = {k: v for k, v in asdict(self).items() if k not in ("widths", "seeds")}
        # Only the ends are compared, so nothing is held out, and the first and the last epoch are evaluated.
        base = TrainingConfig(**shared, held_out=0, evaluate_every=self.epochs)
        return [replace(base, width=w, seed=seed) for w in self.widths for seed in range(self.seeds)]

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)):
            raise UserError(f"widths are {list(self.widths)}: need two or more that increase; change them")
        if self.seeds < 1:
            raise UserError(f"seeds is {self.seeds}: allowed are 1 or more; raise it")
        _ = self.cells  # refuses what a training run refuses


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies after the last epoch over (width, seed), and parameters over width.

    Raises: UserError for data or a device that is not there, and for training that diverges.
    """
    found = (context or PlainContext()).map(train_end, config.cells)
    shape = (len(config.widths), config.seeds)
    variables: dict[str, Any] = {
        name: (("width", "seed"), np.reshape([float(d[name]) for d in found], shape), _about(name)) for name in KEPT
    }
    parameters = [d.attrs["parameters"] for d in found[:: config.seeds]]
    variables["parameters"] = ("width", parameters, {"long_name": "Parameters", "units": "1"})
    coords = {
        "width": ("width", list(config.widths), {"long_name": "Width", "units": "1"}),
        "seed": ("seed", range(config.seeds), {"long_name": "Seed", "units": "1"}),
    }
    attrs = found[0].attrs
    kept = ("data", "model", "norm", "radius", "train_images", "test_images", "test_name", "most_frequent")
    return xr.Dataset(variables, coords, {name: attrs[name] for name in kept} | {"ramp": config.ramp})


def train_end(cell: TrainingConfig, tick: Tick) -> xr.Dataset:
    """What a run has reached in its last epoch."""
    return train_cell(cell, tick).isel(epoch=-1)


def _about(name: str) -> dict[str, str]:
    label, units = VARIABLES[name]
    return {"long_name": label, "units": units}
