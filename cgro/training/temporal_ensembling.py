"""Temporal ensembling against robust overfitting: averaged predictions p^ are the targets of a second term of the loss.

    PGD-AT    ascent and loss  CE(f(z), y) + w mean_k (softmax f(z) - p^)_k^2
    TRADES    ascent  beta KL(f(x) || f(z)) + w mean_k (softmax f(z) - p^)_k^2
              loss    CE(f(x), y) + beta KL(f(x) || f(z)) + w mean_k (softmax f(x) - p^)_k^2

From epoch E_s, every visit updates p_i with the prediction on the clean augmented image, in evaluation mode and before
the attack. TRADES needs that prediction anyway; PGD-AT takes one more forward pass.

p^ and w are those of `ensembling.py`. Source: Dong et al., "Exploring memorization in adversarial training", ICLR 2022,
arXiv 2106.01606, section 4, and the code of its authors [S].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgro.base.validate import at_least
from cgro.training.averaged_predictions import AveragedPredictions
from cgro.training.ensembling import require_ramp, target, weight
from cgro.training.observers import Batch


@dataclass(frozen=True)
class TemporalEnsembling(AveragedPredictions):
    """PGD-AT or TRADES with the term of temporal ensembling; the defaults are those of the paper for 200 epochs.

    momentum: e in [0, 1). start, end: E_s < E_e, the numbers of completed epochs between which the weight rises.
    largest: w_max >= 0.

    Raises: UserError for numbers outside of these ranges.
    """

    start: float = 90.0
    end: float = 150.0
    largest: float = 300.0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("largest", self.largest, 0)
        require_ramp(self.start, self.end)

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return {"running": torch.zeros(len(labels), classes)}

    def prepare(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        if batch.epoch < self.start:
            return {}
        return {"running": self.averaged(batch.state["running"], model(batch.x))}

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        plain, scale = self.base.ascent(model, batch), getattr(self.base, "beta", 1.0)
        if batch.epoch < self.start:
            return plain
        # The attack of TRADES ascends the divergence without beta.
        return lambda z: plain(z) + self._pull(model(z), batch) / scale

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        plain = self.base.losses(model, batch, z)
        if batch.epoch < self.start:
            return plain
        return plain + self._pull(model(batch.x if self.on_clean else z), batch)

    def _pull(self, logits: Tensor, batch: Batch) -> Tensor:
        w = weight(batch.epoch, largest=self.largest, start=self.start, end=self.end)
        return w * (logits.softmax(dim=1) - target(batch.state["running"])).square().mean(dim=1)
