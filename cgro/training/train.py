"""Adversarial training on images in one call, from a configuration or with your own network, images, objective or
attack."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from cgro.attacks.calls import AttackCall
from cgro.attacks.evaluation import as_tensor
from cgro.base.errors import UserError
from cgro.base.work import Tick
from cgro.data.batches import Images
from cgro.data.images import ImageData
from cgro.training.config import TrainingConfig
from cgro.training.objectives import Objective
from cgro.training.observers import Observer
from cgro.training.run import Own, TrainingRun

Array = Tensor | np.ndarray


class Trained(NamedTuple):
    """The result of a training run."""

    curves: xr.Dataset
    """Loss, and clean and robust accuracy on training, held-out and test images, over epoch."""
    model: nn.Module
    """The final network, with averaged weights if the configuration asks for them."""
    best: dict[str, Tensor]
    """Weights with the best robust accuracy on held-out images, for `load_state_dict`; empty if none are held out."""


def train(
    config: TrainingConfig | None = None,
    *,
    model: nn.Module | None = None,
    train_set: tuple[Array, Array] | None = None,
    test_set: tuple[Array, Array] | None = None,
    objective: Objective | None = None,
    attack: AttackCall | None = None,
    observers: Sequence[Observer] = (),
    folder: Path | str | None = None,
    tick: Tick = lambda _done: None,
) -> Trained:
    """Train one network adversarially on images.

        >>> import cgro
        >>> config = cgro.TrainingConfig(samples=40, held_out=20, epochs=1, width=2, attack_steps=1)
        >>> curves, model, best = cgro.train(config)
        >>> curves.sizes["epoch"], curves.attrs["train_images"]
        (1, 40)

    Args:
        config: everything that is not given below; None: the digits of scikit-learn.
        model: your own classifier, replacing the network of the configuration. It is trained in place, on the device of
            the configuration.
        train_set: your own images and labels, with data="own" in the configuration: floats in [0, 1] of shape
            (N, C, H, W), integers (N,). `samples`, `held_out` (from the end), `classes` and `label_noise` apply to
            them as to any data set.
        test_set: the same for test images; requires `train_set`.
        objective: your own objective, see `cgro.training.objectives.Objective`.
        attack: a function (model, x, y, budget) -> points that finds the perturbed training images instead of PGD. Its
            budget is that of the configuration, with the radius rising during warmup. Robust accuracy is always
            measured with PGD.
        observers: your own observers, which look at every update and may change targets and weights of images; see
            `cgro.training.observers.Observer`.
        folder: where checkpoints are saved and resumed from; not allowed with your own parts, since a checkpoint cannot
            tell whether they are the same.
        tick: called with the fraction of an epoch just completed.

    Raises: UserError for incompatible arguments or training that diverges.
    """
    config = config or TrainingConfig()
    own = Own(_data(train_set, test_set), model, objective, attack, tuple(observers))
    run = TrainingRun(config, None if folder is None else Path(folder), own=own)
    curves = run.run(tick)
    return Trained(curves, run.trainer.evaluated.eval(), run.best)


def _data(train_set: tuple[Array, Array] | None, test_set: tuple[Array, Array] | None) -> ImageData | None:
    """Arrays as a data set. Raises: UserError if one of the two is missing or does not hold images."""
    if train_set is None and test_set is None:
        return None
    if train_set is None or test_set is None:
        raise UserError("give both train_set and test_set, each (images, labels), or none")
    train, test = (_images(name, pair) for name, pair in (("train_set", train_set), ("test_set", test_set)))
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        sizes = [tuple(part.pixels.shape[1:]) for part in (train, test)]
        raise UserError(f"training and test images must have one shape, got {sizes[0]} and {sizes[1]}")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    return ImageData("own", classes, 1, train.pixels, train.labels, test.pixels, test.labels, "test images")


def _images(name: str, pair: tuple[Array, Array]) -> Images:
    pixels, labels = (as_tensor(name, each) for each in pair)
    if not pixels.is_floating_point() or not len(pixels):
        raise UserError(f"{name} must have images of floats in [0, 1], got {pixels.dtype} {tuple(pixels.shape)}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise UserError(f"{name} must have integer labels, got {labels.dtype}")
    return Images(pixels.cpu().float(), labels.cpu().long(), 1)
