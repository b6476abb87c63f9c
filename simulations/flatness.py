"""The loss landscape around images during adversarial training: flat inside the training radius, sharp outside.

At selected epochs, on training and test images, it measures the largest increase of the loss and the largest l_1 norm
of its input gradient inside balls of growing radius (`cgro/measures/flatness.py`). Reference: Li & Li, ICML 2025,
arXiv:2306.01271, the loss landscapes of the experiments [S].
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.machine import single_thread
from cgro.base.work import Context, PlainContext, Tick
from cgro.runs.experiment import Experiment
from cgro.training.config import Repeated, TrainingConfig

if TYPE_CHECKING:
    import torch

    from cgro.training.run import Data

PARTS = ("train", "test")
MEASURES = {
    "rise": ("Largest rise of the loss found, mean over images", "nat"),
    "steepness": ("Largest l_1 norm of the input gradient found, mean over images", "nat / pixel value"),
}


@dataclass(frozen=True)
class Config(Repeated):
    """Adversarial training, with flatness measured after some epochs on at most `evaluation_images` images."""

    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    """Radii at which flatness is measured, in units of the training radius, increasing, each above 0."""

    at_epochs: tuple[int, ...] = (2, 10, 30)
    """Epochs after which flatness is measured, increasing."""

    search_steps: int = 10
    """Steps of each search, 1 or more."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, two seeds: fifteen seconds on one CPU core."""
        return cls(
            TrainingConfig(samples=300, held_out=0, width=16, epochs=30, evaluate_every=30, evaluation_images=50)
        )

    @classmethod
    def paper(cls) -> Config:
        """MNIST with LeNet at radius 0.1, 20 epochs, as in the paper but with radius warmup; needs a GPU."""
        training = TrainingConfig(
            data="mnist",
            samples=None,
            held_out=0,
            model="lenet",
            width=16,
            radius=0.1,
            attack_steps=10,
            radius_warmup=0.1,
            epochs=20,
            batch_size=128,
            learning_rate=0.1,
            evaluate_every=20,
            evaluation_images=1000,
        )
        return cls(training, seeds=3, at_epochs=(1, 5, 20), search_steps=20)

    @property
    def cells(self) -> list[Cell]:
        """One training run for each seed, with its measurements."""
        return [Cell(run, self.ratios, self.at_epochs, self.search_steps) for run in self.runs]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training.norm != "inf":
            raise UserError(f"norm must be inf, in which flatness is measured, got {self.training.norm!r}")
        ends = (0.0, *self.ratios)
        if not self.ratios or not all(low < high for low, high in pairwise(ends)):
            raise UserError(f"ratios must be one or more, positive and increasing, got {list(self.ratios)}")
        if self.ratios[-1] * self.training.radius > 1:
            raise UserError(
                f"ratios must be at most {1 / self.training.radius:.4g} at radius {self.training.radius:g}, as pixels "
                f"lie in [0, 1], got {self.ratios[-1]:g}"
            )
        at, epochs = list(self.at_epochs), self.training.epochs
        if not at or at != sorted(set(at)) or at[0] < 1 or at[-1] > epochs:
            raise UserError(f"at_epochs must be one or more, increasing within 1 to {epochs}, got {at}")
        if self.search_steps < 1:
            raise UserError(f"search_steps must be at least 1, got {self.search_steps}")


@dataclass(frozen=True)
class Cell:
    """One training run and its measurements."""

    training: TrainingConfig
    ratios: tuple[float, ...]
    at_epochs: tuple[int, ...]
    search_steps: int

    @property
    def work(self) -> float:
        """Epochs."""
        return self.training.work


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Rise and steepness over (seed, epoch, part, ratio), averaged over images; ratio = radius / training radius.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    return xr.concat((context or PlainContext()).map(measure_one, config.cells), dim="seed", combine_attrs="override")


@single_thread()
def measure_one(cell: Cell, tick: Tick) -> xr.Dataset:
    """Train one network and measure it during training."""
    import torch

    from cgro.base.randomness import spawn_streams, torch_generator
    from cgro.measures.flatness import flatness
    from cgro.training.run import TrainingRun

    config = cell.training
    training = TrainingRun.of_cell(config, tick)

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
    for name in ("clean_test_accuracy", "robust_test_accuracy", "robust_train_accuracy"):
        about = {"long_name": f"{name.replace('_', ' ').capitalize()} at the end", "units": "fraction"}
        variables[name] = ("seed", [training.rows[-1][name]], about)
    return xr.Dataset(
        variables,
        {
            "seed": ("seed", [config.seed], {"long_name": "Seed", "units": "1"}),
            "epoch": ("epoch", list(cell.at_epochs), {"long_name": "Epoch", "units": "epoch"}),
            "part": list(PARTS),
            "ratio": ("ratio", list(cell.ratios), {"long_name": "Radius over training radius", "units": "1"}),
        },
        {
            name: curves.attrs[name]
            for name in ("data", "model", "width", "method", "norm", "radius", "train_images", "test_name")
        }
        | {
            "images": min(config.evaluation_images, len(training.data.train), len(training.data.test)),
        },
    )


EXPERIMENT = Experiment(
    "Flatness of the loss around training and test images, against the radius", Config, run, one_core_cells=True
)
