"""Residual networks with pre-activation: PreActResNet-18 and WideResNet-depth-k, with a width multiplier.

    block(x) = shortcut + conv(relu(bn(conv(relu(bn(x))))))
    shortcut = x, or a 1x1 convolution of relu(bn(x)) where the shape changes

Both networks are a 3x3 convolution, stages of such blocks that halve the image from the second on, bn, relu, mean
over pixels, and a linear layer. Sources: He et al., "Identity mappings in deep residual networks", 2016; Zagoruyko &
Komodakis, "Wide residual networks", 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from cgro.base.errors import UserError
from cgro.models.convolutional import Normalize, uninitialized


class Block(nn.Module):
    """One residual block of two 3x3 convolutions."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inside)
        self.conv1 = uninitialized(nn.Conv2d, inside, outside, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.conv2 = uninitialized(nn.Conv2d, outside, outside, 3, padding=1, bias=False)
        changes = stride != 1 or inside != outside
        self.stride = stride
        self.shortcut = uninitialized(nn.Conv2d, inside, outside, 1, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        h = relu(self.norm1(x))
        # The pixels are chosen before the convolution: with a stride of its own, a 1x1 convolution of few channels
        # writes beyond its memory in torch 2.13 on processors without AVX-512, and the process aborts.
        kept = x if self.shortcut is None else self.shortcut(h[:, :, :: self.stride, :: self.stride])
        return kept + self.conv2(relu(self.norm2(self.conv1(h))))


class PreActResNet(nn.Module):
    """Stages of residual blocks; `widths` channels and `blocks` blocks in each stage.

    Convolutions are drawn from a He normal distribution (fan out), the linear layer from a normal distribution with
    standard deviation 0.01; batch norms start as the identity. In training mode a batch norm mixes the samples of a
    batch, so attacks should run in evaluation mode.

    Raises: UserError for sizes below 1, or images too small for the stages.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        *,
        stem: int,
        widths: Sequence[int],
        blocks: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if min(channels, classes, stem, blocks, *widths) < 1 or size < 2 ** len(widths):
            raise UserError(
                f"sizes must be at least 1 and images at least {2 ** len(widths)} pixels wide, got images of "
                f"{channels} x {size} x {size}, widths {stem} and {tuple(widths)}, {blocks} blocks"
            )
        self.normalize = Normalize()
        self.stem = uninitialized(nn.Conv2d, channels, stem, 3, padding=1, bias=False)
        stages, inside = [], stem
        for k, width in enumerate(widths):
            for j in range(blocks):
                stages.append(Block(inside, width, 2 if k > 0 and j == 0 else 1))
                inside = width
        self.stages = nn.Sequential(*stages)
        self.norm = nn.BatchNorm2d(inside)
        self.head = uninitialized(nn.Linear, inside, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        nn.init.normal_(self.head.weight, std=0.01, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, C, S, S) with pixels in [0, 1]."""
        h = self.stages(self.stem(self.normalize(x)))
        return self.head(relu(self.norm(h)).mean(dim=(2, 3)))


def preact_resnet18(
    channels: int, size: int, classes: int, width: float = 1.0, *, generator: torch.Generator | None = None
) -> PreActResNet:
    """Four stages of two blocks with 64, 128, 256 and 512 channels times `width`; 11.2 million parameters at width
    1."""
    widths = [max(1, round(width * w)) for w in (64, 128, 256, 512)]
    return PreActResNet(channels, size, classes, stem=widths[0], widths=widths, blocks=2, generator=generator)


def wide_resnet(
    channels: int,
    size: int,
    classes: int,
    width: float = 10.0,
    *,
    depth: int = 28,
    generator: torch.Generator | None = None,
) -> PreActResNet:
    """WideResNet-depth-k with k = `width`: three stages of (depth - 4) / 6 blocks with 16, 32, 64 channels times k.

    36.5 million parameters for depth 28 and k = 10, 46.2 million for depth 34. Raises: UserError unless depth = 6 n +
    4, n >= 1.
    """
    if depth < 10 or (depth - 4) % 6:
        raise UserError(f"depth must be 6 n + 4 for a wide residual network (10, 16, 22, 28, 34, ...), got {depth}")
    widths = [max(1, round(width * w)) for w in (16, 32, 64)]
    return PreActResNet(channels, size, classes, stem=16, widths=widths, blocks=(depth - 4) // 6, generator=generator)
