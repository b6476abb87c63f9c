"""Clean generalization and robust overfitting of a convolutional network on real images.

Under PGD adversarial training a network comes to classify perturbed training images and clean test images
well, but not perturbed test images: its robust generalization gap is large while its clean one is small.
Reference: Rice, Wong, Kolter, "Overfitting in adversarially robust deep learning", ICML 2020, section 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import xarray as xr

from cgro.data.images import ImageName
from cgro.experiment import Context, PlainContext, UserError
from cgro.training.config import TrainingConfig
from cgro.training.run import train_cell, with_seeds

ONE_CORE_CELLS = True
TITLE = "Clean generalization and robust overfitting of a convolutional network on real images"


@dataclass(frozen=True)
class Config:
    """l_inf adversarial training of a small network, on few images, to interpolation.

    The preset `quick` trains on 500 digits with radius 0.15. There the network fits nearly all perturbed
    training images and its clean test accuracy is near 98 %, but a third of the test images can be perturbed
    into errors. With radius 0.2 it takes longer to fit, and from 0.3 on this width does not fit any more.
    """

    data: ImageName = "digits"
    """Images: digits (8x8, part of scikit-learn), mnist (28x28) or cifar10 (32x32), from folder CGRO_DATA."""

    samples: int = 500
    """Training images, a random subset of equal class shares; 10 to 1201 digits, 60000 mnist, 50000 cifar10."""

    test_images: int = 1000
    """Test images, and training images, to evaluate at most, >= 10; fixed subsets of equal class shares."""

    width: int = 24
    """Channels of the first convolution, 1 or more."""

    epochs: int = 40
    """Passes over the training images, 1 or more."""

    evaluate_every: int = 1
    """Epochs between evaluations, 1 or more; the first and the last epoch are always evaluated."""

    radius: float = 0.15
    """l_inf radius of perturbations in units of pixels in [0, 1], above 0 and at most 1, e.g. 0.0314 = 8/255."""

    seeds: int = 2
    """Independent runs (training subset, weights, order, attacks), 1 or more."""

    learning_rate: float = 0.05
    """Largest learning rate of SGD, above 0: reached after a fifth of the training, then falling to 0."""

    batch_size: int = 32
    """Images in a batch, 1 or more."""

    attack_steps: int = 5
    """PGD steps for each training batch, 1 or more."""

    evaluation_steps: int = 10
    """PGD steps of the evaluation, more than attack_steps: they begin at the radius and shrink, from 2 starts."""

    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu or cuda; bits repeat on a CPU only."""

    @classmethod
    def quick(cls) -> Config:
        """Digits, two seeds; about a minute of one CPU core."""
        return cls()

    @classmethod
    def paper(cls) -> Config:
        """2,000 images of MNIST against all of its test images; made for a GPU, hours on a CPU."""
        return cls(
            data="mnist",
            samples=2000,
            test_images=10_000,
            width=32,
            radius=0.2,
            seeds=5,
            batch_size=64,
            attack_steps=10,
            evaluation_steps=20,
            evaluate_every=5,
        )

    @property
    def cells(self) -> list[TrainingConfig]:
        """One training run for each seed."""
        shared: dict[str, Any] = {k: v for k, v in asdict(self).items() if k not in ("seeds", "test_images")}
        first = TrainingConfig(**shared, held_out=0, evaluation_images=self.test_images)
        return [replace(first, seed=seed) for seed in range(self.seeds)]

    def __post_init__(self) -> None:
        for name, least in (("seeds", 1), ("test_images", 10)):
            if getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}: allowed are {least} or more; raise it")
        if self.evaluation_steps <= self.attack_steps:
            raise UserError(
                f"evaluation_steps is {self.evaluation_steps}: allowed are more than attack_steps, which is "
                f"{self.attack_steps}; raise it"
            )
        _ = self.cells  # refuses what a training run refuses


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies and loss over (seed, epoch); epochs are those of the evaluations, counted from 1.

    Raises: UserError for data or a device that is not there, and for training that diverges.
    """
    return with_seeds((context or PlainContext()).map(train_cell, config.cells))
