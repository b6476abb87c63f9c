"""Image classifiers by name, each with a width multiplier."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import get_args

import torch
from torch import nn

from cgro.base.validate import one_of
from cgro.models.convolutional import LeNet, SmallCNN, parameter_count
from cgro.models.residual import preact_resnet18, wide_resnet
from cgro.models.widths import WHOLE, ModelName, require_width


def image_model(
    name: str, channels: int, size: int, classes: int, width: float, generator: torch.Generator | None = None
) -> nn.Module:
    """A network for images (N, channels, size, size) with pixels in [0, 1], its weights drawn from `generator`.

    `width` multiplies the channels of the first stage: 64 for a PreActResNet-18, 16 for a WideResNet, 2 for LeNet.
    For a small CNN it is the number of channels itself.

    Raises: UserError for an unknown name, an invalid width, or images that are too small.
    """
    one_of("model", name, get_args(ModelName))
    require_width(name, width)
    if name.startswith("wrn-"):
        return wide_resnet(channels, size, classes, width, depth=int(name[4:]), generator=generator)
    if name == "preact-resnet18":
        return preact_resnet18(channels, size, classes, width, generator=generator)
    kind: Callable[..., nn.Module] = LeNet if name == "lenet" else SmallCNN
    return kind(channels, size, classes, int(width), generator=generator)


def parameters(name: str, channels: int, size: int, classes: int, width: float) -> float:
    """Trainable parameters of a network that need not fit into memory.

    Their number is a quadratic polynomial in the width, exactly so where `width` gives whole numbers of channels; it
    is interpolated from three narrow networks.
    """
    unit = 1 / _NARROWEST.get(name, 1)
    first, second, third = _counts(name, channels, size, classes, unit)
    steps = width / unit - 1
    return first + steps * ((second - first) + (steps - 1) * ((third - 2 * second + first) / 2))


@lru_cache
def _counts(name: str, channels: int, size: int, classes: int, unit: float) -> tuple[int, int, int]:
    # Residual networks end with the mean over pixels, so that their size does not depend on that of the images.
    side, generator = size if name in WHOLE else 32, torch.Generator()
    one, two, three = (
        parameter_count(image_model(name, channels, side, classes, k * unit, generator)) for k in (1, 2, 3)
    )
    return one, two, three


_NARROWEST = {"preact-resnet18": 64, "wrn-16": 16, "wrn-28": 16, "wrn-34": 16}
"""One over the width of a single channel in the first stage."""
