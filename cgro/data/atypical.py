"""Atypical and mislabelled images of known truth: some are rotated, blended with another, or given a wrong label.

What a study finds atypical or harmful can then be compared with what was put in.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.randomness import Stream
from cgro.data.batches import Images
from cgro.data.tampering import Tampering


def tampered(images: Images, tampering: Tampering, classes: int, stream: Stream) -> tuple[Images, Int[Tensor, " N"]]:
    """The images with these changes, in the same order, and the kind of each, an index of `cgro.data.tampering.KINDS`.

    Which images are changed, and how, depends on the stream and their number alone.

    Raises: UserError for one class, where no label is wrong, and images that are not square, which cannot be turned.
    """
    rng, device = np.random.default_rng(stream), images.labels.device
    order, count = rng.permutation(len(images)), len(images)
    ends = [round(count * share) for share in (tampering.rotated, tampering.rotated + tampering.blended)]
    rotated, blended, wrong = np.split(order[: round(count * tampering.total)], ends)
    partners = rng.permutation(count)
    shifts = torch.from_numpy(rng.integers(1, max(2, classes), count)).to(device)
    if len(wrong) and classes < 2:
        raise UserError("classes must be at least 2 to give wrong labels, got 1")
    pixels, labels = images.pixels.clone(), images.labels.clone()
    if len(rotated):
        if pixels.shape[-1] != pixels.shape[-2]:
            raise UserError(f"images must be square to be rotated, got {pixels.shape[-2]} x {pixels.shape[-1]}")
        pixels[rotated] = torch.rot90(images.pixels[rotated], dims=(-2, -1))
    if len(blended):
        others = torch.tensor([_partner(i, partners, images.labels) for i in blended], device=device)
        mixed = (images.pixels[blended].double() + images.pixels[others].double()) / 2
        pixels[blended] = mixed.to(pixels.dtype)
    labels[wrong] = (labels[wrong] + shifts[wrong]) % classes
    kinds = torch.zeros(count, dtype=torch.int64, device=device)
    for number, chosen in enumerate((rotated, blended, wrong), 1):
        kinds[chosen] = number
    return Images(pixels, labels, images.white), kinds


def _partner(i: int, partners: np.ndarray, labels: Tensor) -> int:
    """The first image of another class from place i of the order on. Raises: UserError if there is none."""
    for step in range(len(partners)):
        other = int(partners[(i + step) % len(partners)])
        if labels[other] != labels[i]:
            return other
    raise UserError("images must be of two or more classes to be blended, got one class")
