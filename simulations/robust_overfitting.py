"""Robust overfitting: after the learning rate drops, robust training accuracy keeps rising, robust test accuracy falls.

Learning curves of PGD adversarial training with a piecewise constant learning rate. The checkpoint that is best on
held-out images beats the last one on perturbed test images; the difference measures robust overfitting. Reference:
Rice, Wong & Kolter, "Overfitting in adversarially robust deep learning", ICML 2020, arXiv:2002.11569, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import xarray as xr

from cgro.base.work import Context, PlainContext
from cgro.runs.experiment import Experiment
from cgro.training.config import Judged, JudgedRun, TrainingConfig


@dataclass(frozen=True)
class Config(Judged):
    """Adversarial training well past the first drop of the learning rate."""

    @classmethod
    def quick(cls) -> Config:
        """200 digits with 40 % of their labels redrawn, two seeds: twenty seconds on one CPU core.

        With true labels, 8x8 digits are too easy to overfit: robust test accuracy never falls.
        """
        return cls(TrainingConfig.noisy_digits(), judged_images=60)

    @classmethod
    def paper(cls) -> Config:
        """CIFAR-10 with PreActResNet-18 and the recipe of Rice et al. over 200 epochs; needs a GPU."""
        return cls(replace(TrainingConfig.cifar10(), epochs=200, evaluate_every=2), judged_images=10_000)


def run(config: Config, context: Context | None = None) -> xr.Dataset:
    """Accuracies and loss over (seed, epoch), the best epoch of each seed on the held-out part, and test accuracy of
    the best and the last checkpoint over (seed, checkpoint, attack).

    Raises: UserError for missing data, a missing device, or training that diverges.
    """
    from cgro.training.judging import judge
    from cgro.training.run import with_seeds

    cells = [JudgedRun(training, config.judged_images) for training in config.runs]
    return with_seeds((context or PlainContext()).map(judge, cells), config.training.seed)


EXPERIMENT = Experiment(
    "Robust overfitting: learning curves, the best checkpoint against the last", Config, run, one_core_cells=True
)
