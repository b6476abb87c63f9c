"""Geometry-aware instance-reweighted adversarial training (GAIRAT): images that PGD breaks early count more.

    kappa_i = number of steps of the training attack until f errs on image i, K if it never does,
    w_i     = (1 + tanh(L + 5 (1 - 2 kappa_i / K))) / 2,   loss  sum_i w_i CE(f(z_i), y_i) / sum_i w_i

K is the number of steps. kappa is counted in the K forward passes of the attack itself, at its starting point and after
steps 1 to K - 1; what the last step reaches is not looked at. The attack is that of PGD-AT.

Source: Zhang et al., ICLR 2021, arXiv:2010.01736 [S], and the code of its authors. They count all steps at which f is
right (`count="all"` here), also those after its first error; for odd K they divide by the integer part of K / 2 instead
of K / 2; and their weights act from epoch 60 of 120 counted from 1, which is one epoch earlier than ours. Re-weighted
networks may only seem robust under PGD: judge them with a strong ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.base.errors import UserError
from cgro.base.validate import at_least, finite, one_of
from cgro.training.observers import Batch, Seen, Weighted
from cgro.training.sample_weights import SampleWeights, require_class_labels

Count = Literal["first", "all"]


def geometry_weights(kappa: Tensor, steps: int | Tensor, shift: float = -1.0) -> Tensor:
    """w (B,) of steps kappa (B,) from 0 to `steps` = K >= 1; `shift` is L."""
    # (1 + tanh a) / 2 = sigmoid(2 a), which has no digits to lose where tanh is almost -1.
    return torch.sigmoid(2 * (shift + 5 * (1 - 2 * kappa / steps)))


@dataclass(frozen=True)
class GeometryAware(SampleWeights):
    """GAIRAT; its tensors `kappa` (N,) and `weight` (N,) are those of the last visit.

    shift: L, -1 in the paper [S]. start: completed epochs, at least 0, before the weights act; 60 of 120 in the paper
    [S]. count: the first error, as in the paper's words, or all steps at which f is right, as in its code.

    Raises: UserError for numbers outside of these ranges, and in training without PGD.
    """

    shift: float = -1.0
    start: float = 60.0
    count: Count = "first"

    def __post_init__(self) -> None:
        finite("shift", self.shift)
        at_least("start", self.start, 0)
        one_of("count", self.count, get_args(Count))

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return super().initial(labels, classes) | {"kappa": torch.zeros(len(labels), dtype=torch.int64)}

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        require_class_labels("GAIRAT", batch)
        batch.state["kappa"], batch.state["steps"] = torch.zeros_like(batch.y), torch.zeros((), device=batch.y.device)
        unbroken = torch.ones_like(batch.y, dtype=torch.bool)

        def climb(z: Tensor) -> Tensor:
            nonlocal unbroken
            logits = model(z)
            right = logits.detach().argmax(1) == batch.y
            unbroken = unbroken & right if self.count == "first" else right
            batch.state["kappa"] = batch.state["kappa"] + unbroken
            batch.state["steps"] = batch.state["steps"] + 1
            return cross_entropy(logits, batch.y, reduction="none")

        return climb

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        if "steps" not in batch.state and len(batch.y):  # a process without images has no attack
            raise UserError("GAIRAT counts the steps of PGD: give no attack of your own, and do not replay batches")
        losses = cross_entropy(model(z), batch.y, reduction="none")
        weights = torch.ones_like(losses)
        if batch.epoch >= self.start and len(batch.y):
            weights = geometry_weights(batch.state["kappa"], batch.state["steps"], self.shift)
        return Weighted(losses, weights.detach())

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        return {**super().observe(seen), "kappa": seen.batch.state["kappa"]}
