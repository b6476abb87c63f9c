"""Image classifiers by name, each with a width multiplier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import nn

from cgro.errors import UserError
from cgro.networks.image_models import LeNet, SmallCNN
from cgro.networks.residual import preact_resnet18, wide_resnet

ModelName = Literal["small-cnn", "lenet", "preact-resnet18", "wrn-16", "wrn-28", "wrn-34"]
"""Networks; wrn-28 at width 10 is WideResNet-28-10."""

WIDTHS: dict[str, float] = {
    "small-cnn": 24, "lenet": 16, "preact-resnet18": 1, "wrn-16": 10, "wrn-28": 10, "wrn-34": 10,
}  # fmt: skip
"""Usual widths; LeNet's makes it the network of the MNIST challenge."""


def image_model(
    name: str, channels: int, size: int, classes: int, width: float, generator: torch.Generator | None = None
) -> nn.Module:
    """A network for images (N, channels, size, size) with pixels in [0, 1], its weights drawn from `generator`.

    `width` multiplies channels: of a PreActResNet-18 with 64 at width 1, a WideResNet with 16, LeNet with 2, and it is
    the number of channels of a small CNN.

    Raises: UserError for an unknown name, a width that is no number of channels, and images that are too small.
    """
    if name not in get_args(ModelName):
        raise UserError(f"model is {name!r}: allowed are {', '.join(get_args(ModelName))}; choose one of them")
    whole = name in ("small-cnn", "lenet")
    if not (width > 0 and math.isfinite(width)) or (whole and width != int(width)):
        raise UserError(f"width is {width:g}: allowed are {'whole ' if whole else ''}numbers above 0 with {name}")
    if name.startswith("wrn-"):
        return wide_resnet(channels, size, classes, width, depth=int(name[4:]), generator=generator)
    if name == "preact-resnet18":
        return preact_resnet18(channels, size, classes, width, generator=generator)
    kind: Callable[..., nn.Module] = LeNet if name == "lenet" else SmallCNN
    return kind(channels, size, classes, int(width), generator=generator)
