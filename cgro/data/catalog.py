"""The image data sets by name, and their sizes."""

from __future__ import annotations

from typing import Literal

ImageName = Literal["digits", "mnist", "cifar10", "cifar100"]
TrainingImages = Literal["digits", "mnist", "cifar10", "cifar100", "own"]
"""Training data: a data set by name, or `own` for arrays passed in Python."""
TRAINING_IMAGES: dict[str, int] = {"digits": 1201, "mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000}
"""Number of training images of each data set."""
SHAPES: dict[str, tuple[int, int, int]] = {
    "digits": (1, 8, 10), "mnist": (1, 28, 10), "cifar10": (3, 32, 10), "cifar100": (3, 32, 100),
}  # fmt: skip
"""Channels, side in pixels, and classes of each data set."""
