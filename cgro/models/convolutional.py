"""Convolutional networks for small images; each takes pixels in [0, 1] and normalizes them itself."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from cgro.base.errors import UserError

Layer = TypeVar("Layer", bound=nn.Module)


def uninitialized(kind: type[Layer], *arguments: Any, **options: Any) -> Layer:
    """A layer whose weights are yet to be drawn: the default initialization would draw from the global generator.

    `torch.nn.utils.skip_init` imports sympy, which takes as long as a short run.
    """
    layer = kind(*arguments, device="meta", **options)
    for name, parameter in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, nn.Parameter(torch.empty(parameter.shape)))
    return layer


class Normalize(nn.Module):
    """(x - mean) / std as the first layer, so that attacks work in pixel space and radii mean pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.5, std: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class LeNet(nn.Module):
    """The network of the MNIST challenge: two 5x5 convolutions, each followed by 2x2 max-pooling, and two linear
    layers.

    2 `width` and 4 `width` channels, 64 `width` hidden units: 32, 64 and 1,024 as in the challenge at width 16; 2, 4
    and 64, its smallest network, at width 1. Weights are drawn from a He normal distribution, biases start at 0.
    Source: Madry et al., ICLR 2018, section 4 and the code of the MNIST challenge.

    Args: as `SmallCNN`; size S >= 4.

    Raises: UserError for a smaller size or width.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        width: int = 16,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if size < 4 or width < 1:
            raise UserError(f"size must be at least 4 and width at least 1, got {size} and {width}")
        layers: list[nn.Module] = [Normalize()]
        for inside, outside in ((channels, 2 * width), (2 * width, 4 * width)):
            layers += [uninitialized(nn.Conv2d, inside, outside, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
            size //= 2
        layers += [nn.Flatten(), uninitialized(nn.Linear, 4 * width * size**2, 64 * width), nn.ReLU()]
        layers += [uninitialized(nn.Linear, 64 * width, classes)]
        self.layers = nn.Sequential(*layers)
        _initialize(self.layers, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, S, S) with pixels in [0, 1]."""
        return self.layers(x)


class SmallCNN(nn.Module):
    """Plain convolutional network: 3x3 convolutions that halve the image down to 4x4, then two linear layers.

    Channels double with each halving, from `width` to at most 4 `width`; the hidden linear layer has
    4 `width` units. Weights are drawn from a He normal distribution, biases start at 0.

    There is no batch normalization: its statistics would mix the samples of a batch, so that a perturbation of one
    image would change the logits of the others, and clean and perturbed images would have to share statistics that
    differ between them. Without it, training and evaluation mode are the same function.

    Args:
        channels: input channels C >= 1 (1 for digits and MNIST, 3 for CIFAR-10).
        size: side S >= 5 of the square images, in pixels.
        classes: number of logits, >= 2.
        width: channels of the first convolution, >= 1.
        generator: draws the initial weights (on the CPU); None uses torch's global generator.

    Raises: UserError for a smaller size or width.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        width: int,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if size < 5 or width < 1:
            raise UserError(f"size must be at least 5 and width at least 1, got {size} and {width}")
        layers: list[nn.Module] = [
            Normalize(),
            uninitialized(nn.Conv2d, channels, width, 3, padding=1),
            nn.ReLU(),
        ]
        features = width
        while size > 4:
            wider = min(2 * features, 4 * width)
            layers += [uninitialized(nn.Conv2d, features, wider, 3, stride=2, padding=1), nn.ReLU()]
            features, size = wider, (size + 1) // 2
        layers += [nn.Flatten(), uninitialized(nn.Linear, features * size**2, 4 * width), nn.ReLU()]
        layers += [uninitialized(nn.Linear, 4 * width, classes)]
        self.layers = nn.Sequential(*layers)
        _initialize(self.layers, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, S, S) with pixels in [0, 1]."""
        return self.layers(x)


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _initialize(layers: nn.Sequential, generator: torch.Generator | None) -> None:
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
