"""A whole image set on one device, cut into batches there, and its augmentation as tensor operations on a batch.

Augmentation is drawn first and applied later, so that a process with a part of a batch applies a part of the draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from cgro.base.errors import UserError

_PIXELS = (torch.uint8, torch.float32, torch.float64)


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W) on a device and their labels int64 (N,).

    Pixels are uint8, where `white` is pixel 1.0, or floats in [0, 1], where `white` is 1.

    Raises: UserError for other shapes or types, pixels above `white`, and labels below 0.
    """

    pixels: Tensor
    labels: Tensor
    white: int

    def __post_init__(self) -> None:
        for name in ("pixels", "labels"):
            if not isinstance(getattr(self, name), Tensor):
                raise UserError(f"{name} must be a tensor, got {type(getattr(self, name)).__name__}; convert them")
        if self.pixels.dtype not in _PIXELS or self.pixels.ndim != 4 or self.labels.shape != self.pixels.shape[:1]:
            raise UserError(
                "images must be uint8 or float (N, C, H, W) with labels (N,), got "
                f"{self.pixels.dtype} {tuple(self.pixels.shape)} with labels {tuple(self.labels.shape)}"
            )
        if self.pixels.is_floating_point():
            if self.white != 1 or not bool(((self.pixels >= 0) & (self.pixels <= 1)).all()):
                raise UserError(
                    f"float pixels must lie in [0, 1] with white 1, got {float(self.pixels.min()):g} to "
                    f"{float(self.pixels.max()):g} with white {self.white}: divide 8-bit values by 255"
                )
        elif len(self.pixels) and int(self.pixels.max()) > self.white:
            raise UserError(
                f"pixels must be at most white = {self.white}, got {int(self.pixels.max())}: raise white, e.g. to 255"
            )
        if len(self.labels) and int(self.labels.min()) < 0:
            raise UserError(f"labels must be 0, 1, ..., got {int(self.labels.min())}: renumber them")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Images:
        """The images at these indices."""
        indices = indices.to(self.labels.device)
        return Images(self.pixels[indices], self.labels[indices], self.white)

    def to(self, device: torch.device | str) -> Images:
        return Images(self.pixels.to(device), self.labels.to(device), self.white)

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of `size` or fewer in the given order: float pixels in [0, 1], labels."""
        for indices in order.to(self.labels.device).split(size):
            yield self.scaled(self.pixels[indices]), self.labels[indices]

    @property
    def grey(self) -> float:
        """The pixel between black and white that cutout fills its square with."""
        return 0.5 if self.pixels.is_floating_point() else self.white // 2

    def scaled(self, pixels: Tensor) -> Tensor:
        """float pixels in [0, 1], in channels-last layout, the fastest for convolutions."""
        x = pixels if pixels.is_floating_point() else pixels.float() / self.white
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@dataclass(frozen=True)
class Augmentation:
    """Random crops of an image padded by reflection, mirror images, and a grey square (cutout); sizes in pixels.

    Raises: UserError for sizes below 0.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        if min(self.pad, self.cutout) < 0:
            raise UserError(f"pad and cutout must be at least 0 pixels, got {self.pad} and {self.cutout}")

    def draw(self, count: int, size: int, generator: torch.Generator) -> Int[Tensor, "B 5"]:
        """For each of `count` images of side `size`: shift down and right, mirrored or not, centre of the square."""
        ends = (2 * self.pad + 1, 2 * self.pad + 1, 2 if self.flip else 1, size, size)
        device = generator.device
        return torch.stack([torch.randint(end, (count,), generator=generator, device=device) for end in ends], 1)

    def apply(
        self, pixels: Shaped[Tensor, "B C S S"], drawn: Int[Tensor, "B 5"], grey: float
    ) -> Shaped[Tensor, "B C S S"]:
        """Augmented images, one row of `drawn` for each; `grey` fills the square."""
        if self == Augmentation():
            return pixels
        size = pixels.shape[-1]
        if pixels.shape[-2] != size:
            raise UserError(f"images must be square to be augmented, got {pixels.shape[-2]} x {size}: do not augment")
        if self.pad >= size:
            raise UserError(f"pad must be less than {size}, the pixels of a side, got {self.pad}")
        line = torch.arange(size, device=pixels.device)
        down, right, mirrored, row, column = drawn.to(pixels.device).T[:, :, None]
        rows, columns = (_reflected(line + shift - self.pad, size) for shift in (down, right))
        columns = torch.where(mirrored > 0, columns.flip(1), columns)
        batch = torch.arange(len(pixels), device=pixels.device)[:, None, None]
        moved = pixels[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if self.cutout == 0:
            return moved
        low, high = -(self.cutout // 2), (self.cutout + 1) // 2
        hidden_rows, hidden_columns = ((line >= at + low) & (line < at + high) for at in (row, column))
        hidden = (hidden_rows[:, :, None] & hidden_columns[:, None, :])[:, None]
        return torch.where(hidden, torch.tensor(grey, dtype=pixels.dtype, device=pixels.device), moved)


def _reflected(line: Tensor, size: int) -> Tensor:
    """Positions outside 0..size - 1, reflected at the first and the last."""
    return (size - 1 - (size - 1 - line.abs()).abs()).abs()


AUGMENTATIONS = {
    "none": Augmentation(),
    "crop": Augmentation(pad=4),
    "crop-flip": Augmentation(pad=4, flip=True),
    "crop-flip-cutout": Augmentation(pad=4, flip=True, cutout=8),
}
"""Augmentations by name; crop-flip is the standard one for CIFAR-10. Digits are never mirrored."""
