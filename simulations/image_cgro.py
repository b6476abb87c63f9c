"""Clean generalization and robust overfitting of a convolutional network on real images.

PGD adversarial training yields a network that classifies perturbed training images and clean test images well, but not
perturbed test images: its robust generalization gap is large while its clean generalization gap is small. Reference:
Rice, Wong & Kolter, "Overfitting in adversarially robust deep learning", ICML 2020, arXiv:2002.11569, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from cgro.base.errors import UserError
from cgro.base.work import Context, PlainContext
from cgro.runs.experiment import Experiment
from cgro.training.config import Repeated, TrainingConfig


@dataclass(frozen=True)
class Config(Repeated):
    """l_inf adversarial training of a small network on few images, until it interpolates.

    The preset `quick` trains on 300 digits with radius 0.15. The network fits nearly all perturbed training images and
    reaches a clean test accuracy near 97 %, but two fifths of the test images have adversarial perturbations. Fitting
    takes longer with radius 0.2, and this width no longer fits from radius 0.3 on.
    """

    @classmethod
    def quick(cls) -> Config:
        """Digits, two seeds; twenty seconds on one CPU core."""
        return cls(
            TrainingConfig(samples=300, held_out=0, width=16, epochs=30, evaluate_every=5, evaluation_images=300)
        )

    @classmethod
    def paper(cls) -> Config:
        """2,000 training images of MNIST and all test images; needs a GPU, hours on a CPU."""
        training = TrainingConfig(
            data="mnist",
            samples=2000,
            held_out=0,
            evaluation_images=10_000,
            width=32,
            radius=0.2,
            batch_size=64,
            attack_steps=10,
            evaluation_steps=20,
            evaluate_every=5,
        )
        return cls(training, seeds=5)

    def __post_init__(self) -> None:
        super().__post_init__()
        t = self.training
        if t.evaluation_steps <= t.attack_steps:
            raise UserError(
                f"evaluation_steps must be greater than attack_steps, got {t.evaluation_steps} and {t.attack_steps}"
            )


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies and loss over (seed, epoch), for the evaluated epochs, counted from 1.

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.training.run import train_cell, with_seeds

    return with_seeds((context or PlainContext()).map(train_cell, config.runs), config.training.seed)


EXPERIMENT = Experiment(
    "Clean generalization and robust overfitting of a convolutional network on real images",
    Config,
    run,
    one_core_cells=True,
)
