"""The loss landscape around images during adversarial training: flat inside the training radius, sharp outside.

At some epochs, on training and test images: the largest rise of the loss and the largest l_1 norm of its input gradient
inside balls of growing radius (`cgro/measures/flatness.py`). Reference: Li & Li, ICML 2025, the loss landscapes of the
experiments [S].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from cgro.data.images import ImageName
from cgro.experiment import Context, PlainContext, Tick, UserError, scratch_of
from cgro.machine import single_thread
from cgro.measures.flatness import flatness
from cgro.networks.zoo import ModelName
from cgro.randomness import spawn_streams, torch_generator
from cgro.training.config import AugmentationName, TrainingConfig
from cgro.training.run import Data, TrainingRun

TITLE = "Flatness of the loss around training and test images, against the radius"
ONE_CORE_CELLS = True
PARTS = ("train", "test")
MEASURES = {
    "rise": ("Largest rise of the loss found, mean over images", "nat"),
    "steepness": ("Largest l_1 norm of the input gradient found, mean over images", "nat / pixel value"),
}


@dataclass(frozen=True)
class Config:
    """l_inf adversarial training, and flatness measured after some of its epochs."""

    data: ImageName = "digits"
    """Images: digits, mnist, cifar10 or cifar100, from folder CGRO_DATA."""

    samples: int = 500
    """Training images, a random subset of equal class shares; 0: all."""

    model: ModelName = "small-cnn"
    """Network."""

    width: float = 24.0
    """Its width."""

    radius: float = 0.15
    """l_inf radius of the training in units of pixels in [0, 1]."""

    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    """Radii at which flatness is measured, in units of the training radius, increasing from above 0."""

    at_epochs: tuple[int, ...] = (2, 10, 30)
    """Epochs after which it is measured, increasing."""

    images: int = 100
    """Training and test images it is measured on, at most, 10 or more of each."""

    search_steps: int = 10
    """Steps of each search, 1 or more."""

    attack_steps: int = 5
    """PGD steps for each training batch, 1 or more."""

    epochs: int = 30
    """Passes over the training images, 1 or more."""

    batch_size: int = 32
    """Images in a batch, 1 or more."""

    learning_rate: float = 0.05
    """Largest learning rate of SGD, above 0: reached after a fifth of the training, then falling to 0."""

    weight_decay: float = 0.0
    """Weight decay, 0 or more."""

    ramp: float = 0.4
    """Share of the training over which the radius rises to its full size, 0 to 1."""

    augmentation: AugmentationName = "none"
    """Random crops, mirror images and grey squares."""

    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu or cuda; bits repeat on a CPU only."""

    seeds: int = 2
    """Independent runs, 1 or more."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, two seeds: half a minute of one CPU core."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """MNIST with LeNet at radius 0.1, 20 epochs, as in the paper; needs a GPU."""
        return cls(
            data="mnist", samples=0, model="lenet", width=16, radius=0.1, at_epochs=(1, 5, 20), images=1000,
            search_steps=20, attack_steps=10, epochs=20, batch_size=128, learning_rate=0.1, ramp=0.0, seeds=3,
        )  # fmt: skip

    @property
    def cells(self) -> list[Cell]:
        """One training run for each seed."""
        own = ("ratios", "at_epochs", "images", "search_steps", "seeds")
        shared: dict[str, Any] = {k: v for k, v in asdict(self).items() if k not in own}
        base = TrainingConfig(**shared, held_out=0, evaluate_every=self.epochs, evaluation_images=self.images)
        return [
            Cell(replace(base, seed=seed), self.ratios, self.at_epochs, self.search_steps) for seed in range(self.seeds)
        ]

    def __post_init__(self) -> None:
        if not self.ratios or self.ratios[0] <= 0 or list(self.ratios) != sorted(set(self.ratios)):
            raise UserError(f"ratios are {list(self.ratios)}: need one or more that increase from above 0; change them")
        at = list(self.at_epochs)
        if not at or at != sorted(set(at)) or at[0] < 1 or at[-1] > self.epochs:
            raise UserError(
                f"at_epochs are {at}: need one or more that increase within 1 to {self.epochs}; change them"
            )
        for name, least in (("search_steps", 1), ("seeds", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}: allowed are {least} or more; raise it")
        _ = self.cells  # refuses what a training run refuses


@dataclass(frozen=True)
class Cell:
    """One training run and where it is measured."""

    training: TrainingConfig
    ratios: tuple[float, ...]
    at_epochs: tuple[int, ...]
    search_steps: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Rise and steepness over (seed, epoch, part, ratio), means over images; the ratio is that of the radii.

    Raises: UserError for data or a device that is not there, and for training that diverges.
    """
    return xr.concat((context or PlainContext()).map(measure_one, config.cells), dim="seed", combine_attrs="override")


@single_thread()
def measure_one(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train one network and measure it on the way."""
    config = cell.training
    training = TrainingRun(config, scratch_of(tick))

    def watch(model: torch.nn.Module, data: Data) -> dict[str, dict[str, list[float]]]:
        found = {}
        for part in PARTS:
            images = getattr(data, part)
            images = images.take(torch.arange(min(len(images), config.evaluation_images)))
            x = images.scaled(images.pixels)
            generator = torch_generator(spawn_streams(config.seed)["evaluation"], x.device)
            radii = [ratio * config.radius for ratio in cell.ratios]
            measured = flatness(model, x, images.labels, radii, steps=cell.search_steps, generator=generator)
            found[part] = {name: measured[name].mean("sample").values.tolist() for name in MEASURES}
        return found

    training.run(tick, watch, [epoch * training.trainer.steps_per_epoch for epoch in cell.at_epochs])
    rows, curves = training.observed, training.curves()
    dims = ("seed", "epoch", "part", "ratio")
    variables: dict[str, Any] = {
        name: (
            dims,
            np.array([[[row[part][name] for part in PARTS] for row in rows]]),
            {"long_name": label, "units": units},
        )
        for name, (label, units) in MEASURES.items()
    }
    return xr.Dataset(
        variables,
        {
            "seed": ("seed", [config.seed], {"long_name": "Seed", "units": "1"}),
            "epoch": ("epoch", list(cell.at_epochs), {"long_name": "Epoch", "units": "epoch"}),
            "part": list(PARTS),
            "ratio": ("ratio", list(cell.ratios), {"long_name": "Radius over training radius", "units": "1"}),
        },
        {name: curves.attrs[name] for name in ("data", "model", "width", "radius", "train_images", "test_name")}
        | {
            "images": config.evaluation_images,
            "robust_test_accuracy": training.rows[-1]["robust_test_accuracy"],
            "clean_test_accuracy": training.rows[-1]["clean_test_accuracy"],
        },
    )
