"""Noisy labels and subsets of classes; labels stay attached to the index of their sample.

Symmetric noise of rate r draws a label anew, uniformly among all C, with probability r: the transition matrix is P =
(r/C) 1 + (1-r) I, and a share 1 - r + r/C of the labels stays right. r = 1 gives random labels. Source: Dong et al.,
ICLR 2022, settings of the memorization experiments [S].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.validate import integer, real


def noisy_labels(labels: Tensor, rate: float, classes: int, seed: int | np.random.SeedSequence) -> Tensor:
    """Labels (N,) with symmetric noise; a sample's draw depends on the seed and its index alone.

    Noise of one seed is nested: a label changed at some rate is changed to the same label at every higher rate.

    Raises: UserError for a rate outside of [0, 1], and labels outside of 0..classes - 1.
    """
    integer("classes", classes, low=1)
    if not 0 <= real("noise rate", rate) <= 1:
        raise UserError(f"noise rate must be in [0, 1], the share of labels drawn anew, got {rate:g}")
    _require(labels, classes)
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.integers(0, classes, len(labels)))
    chance = torch.from_numpy(rng.random(len(labels)))
    return torch.where(chance < rate, drawn, labels.cpu()).to(labels.device)


def class_subset(labels: Tensor, keep: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Indices of the samples of these classes, in order, and their labels renumbered 0, 1, ... in the order of `keep`.

    Raises: UserError for fewer than two classes, a class twice, and a class without samples.
    """
    _require_integers(labels)
    keep = [integer("class", k) for k in keep]
    if len(keep) < 2 or len(set(keep)) < len(keep):
        raise UserError(f"classes must be two or more different ones, got {list(keep)}")
    absent = [k for k in keep if not bool((labels == k).any())]
    if absent:
        present = sorted(set(labels.tolist()))
        raise UserError(f"classes must be among {present}, got {absent[0]}, which has no samples")
    new = torch.full((int(labels.max()) + 1,), -1, dtype=torch.int64)
    new[torch.tensor(list(keep))] = torch.arange(len(keep))
    renumbered = new[labels.cpu()]
    indices = (renumbered >= 0).nonzero()[:, 0]
    return indices.to(labels.device), renumbered[indices].to(labels.device)


def _require(labels: Tensor, classes: int) -> None:
    _require_integers(labels)
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < 0 or high >= classes:
        raise UserError(f"labels must be 0 to {classes - 1} with {classes} classes, got {low} to {high}")


def _require_integers(labels: Tensor) -> None:
    if labels.ndim != 1 or labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise UserError(f"labels must be integers (N,), got {labels.dtype} {tuple(labels.shape)}")
