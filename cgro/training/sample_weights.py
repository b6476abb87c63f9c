"""Weights of training images: what objectives that weigh their losses share, and the control with random weights.

    update      minimizes sum_i w_i l_i / sum_i w_i over the whole batch
    effective sample size   (sum_i w_i)^2 / sum_i w_i^2, between 1 and the number of weights

A method that weighs images changes which images count, and how many count at all. The control `RandomWeights` keeps the
second and removes the first: every batch has the same weights, but on other images. A gain that the control has, too,
is not due to the choice of the images [D].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.base.randomness import at, torch_generator
from cgro.base.validate import integer
from cgro.training.objectives import Adversarial
from cgro.training.observers import Batch, Observer, Seen, Weighted


def effective_sample_size(weights: Tensor | np.ndarray) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted images would have a weighted mean of the same variance.

    N for equal weights, 1 if a single image has any, 0 if none has.

        >>> import torch
        >>> effective_sample_size(torch.tensor([1.0, 1.0, 0.0]))
        2.0

    Raises: UserError unless weights are one or more finite numbers >= 0.
    """
    w = torch.as_tensor(weights).detach().double()
    if w.ndim != 1 or not len(w):
        raise UserError(f"weights must be a row of one or more numbers, got shape {tuple(w.shape)}")
    wrong = (~(w.isfinite() & (w >= 0))).nonzero()
    if len(wrong):
        raise UserError(f"weights must be finite and at least 0, got {float(w[wrong[0, 0]]):g} at {int(wrong[0, 0])}")
    largest = w.max()
    if largest == 0:
        return 0.0
    w = w / largest  # tiny weights must not vanish when they are squared
    return float(w.sum() ** 2 / w.square().sum())


@dataclass(frozen=True)
class SampleWeights(Observer):
    """An objective with weights. Its tensor `weight` (N,) holds the last weight of each image, 1 before the first."""

    attacks = True
    whole_batches = False
    """Whether the loss or weight of an image depends on the others of its batch."""

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return {"weight": torch.ones(len(labels))}

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return Adversarial().ascent(model, batch)

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        """Losses and weights of the update."""
        raise NotImplementedError

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        assert seen.weights is not None
        return {"weight": seen.weights}


def require_class_labels(name: str, batch: Batch) -> None:
    """Raises: UserError for targets that are probabilities."""
    if batch.y.ndim > 1:
        raise UserError(f"{name} needs labels, not probabilities: leave label smoothing out")


@dataclass(frozen=True)
class RandomWeights(SampleWeights):
    """The control of a treatment: the same losses, and its weights in a random order within every batch.

    The image at place p of the batch takes the weight of the image whose key has rank p. Keys are drawn once for each
    image, from `seed` >= 0; the places are drawn anew in every epoch, by the order of the training, so that every
    order of the weights is equally likely. Keys are part of the state: a resumed run has the same ones.

    Raises: UserError for a negative seed.
    """

    treatment: SampleWeights
    seed: int = 0
    whole_batches = True

    def __post_init__(self) -> None:
        integer("seed", self.seed, low=0)

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        stream = at(np.random.SeedSequence(self.seed), 0)
        key = torch.randperm(len(labels), generator=torch_generator(stream))
        return self.treatment.initial(labels, classes) | {"key": key}

    def prepare(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return self.treatment.prepare(model, batch)

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return self.treatment.ascent(model, batch)

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        losses, weights = self.treatment.losses(model, batch, z)
        return Weighted(losses, weights[batch.state["key"].argsort()])

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        return self.treatment.observe(seen)
