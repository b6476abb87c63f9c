"""What a study of memorization trains, and how it decides; read without torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import tyro

from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.base.validate import between, integer
from cgro.data.catalog import TRAINING_IMAGES
from cgro.data.tampering import Tampering
from cgro.training.config import TrainingConfig

if TYPE_CHECKING:  # imported where it is used, so that reading a configuration does not import torch
    from cgro.memorization.study import TrackedRun
    from cgro.memorization.subset_models import SubsetModels

CRITERIA = ("clean", "perturbed")
"""Images on which an answer is right or wrong."""
LARGEST_STACK = 20
"""Subset models of a cell: enough to keep a core busy, and few enough to stay in its cache."""


@dataclass(frozen=True)
class Scoring:
    """Subset models of one training configuration, and runs on all images that follow cheap scores."""

    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    """Images, network, objective and optimizer; its seed draws the images."""

    models: int = 300
    """Models on random subsets, at least 10."""

    ratio: float = 0.7
    """Share of the training images in each subset, between 0 and 1."""

    chance: float = 0.05
    """Chance that the largest score without any effect exceeds its threshold, above 0 and at most 0.5."""

    threshold: float = 0.0
    """Memorization that an atypical image must exceed besides that of chance, 0 to 1; 0: chance alone decides."""

    tracked_runs: int = 3
    """Runs on all images, whose cheap scores are averaged, at least 1."""

    early: int = 10
    """Epochs over which EL2N is averaged, at least 1."""

    @property
    def tampering(self) -> Tampering:
        """What is done to the images: nothing."""
        return Tampering()

    @property
    def source(self) -> str:
        """PATH@DIGEST of the images; empty: the data set of the training."""
        return ""

    @property
    def subset_cells(self) -> list[SubsetModels]:
        """The subset models, some in each cell."""
        from cgro.memorization.subset_models import SubsetModels

        return [
            SubsetModels(self.plain, self.tampering, self.ratio, k, min(LARGEST_STACK, self.models - k), self.source)
            for k in range(0, self.models, LARGEST_STACK)
        ]

    @property
    def tracked_cells(self) -> list[TrackedRun]:
        """The runs on all images; other seeds draw their weights, order and attacks."""
        from cgro.memorization.study import TrackedRun

        seed = self.training.seed
        return [
            TrackedRun(replace(self.plain, seed=seed + 1 + k), self.tampering, seed, self.early, self.source)
            for k in range(self.tracked_runs)
        ]

    @property
    def plain(self) -> TrainingConfig:
        """The training, evaluated as rarely as possible: nothing here depends on learning curves."""
        return replace(self.training, evaluate_every=self.training.epochs)

    def require_images(self, images: int) -> None:
        """Refuse numbers of training images and models that leave no subset or exceed the memory. Raises: UserError."""
        size = round(self.ratio * images)
        if not 0 < size < images:
            raise UserError(f"ratio must leave some of {images} images in and some out, got {self.ratio:g}")
        require_memory(12.0 * self.models * (images + self.training.evaluation_images), f"models = {self.models:,}")

    def __post_init__(self) -> None:
        integer("models", self.models, low=10)
        between("ratio", self.ratio, 0, 1, open_low=True, open_high=True)
        between("chance", self.chance, 0, 0.5, open_low=True)
        between("threshold", self.threshold, 0, 1)
        integer("tracked_runs", self.tracked_runs, low=1, high=1000)
        integer("early", self.early, low=1)
        if self.training.label_noise > 0:
            raise UserError(
                f"label_noise must be 0, got {self.training.label_noise:g}: it replaces labels to be scored"
            )
        if self.training.cure_scores is not None:
            raise UserError(f"cure must not need scores to find scores, got {self.training.cure}: choose another")
        if self.training.data != "own":  # whose number is known only when they are read
            self.require_images(self.training.samples or TRAINING_IMAGES[self.training.data] - self.training.held_out)
