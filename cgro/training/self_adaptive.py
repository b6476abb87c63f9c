"""Self-adaptive training: targets follow the predictions of the network, and uncertain images count less.

    t_i <- e t_i + (1 - e) softmax f,   w_i = max_k t_ik,
    loss  sum_i w_i l_i(t_i) / sum_i w_i,   l_i(t) that of PGD-AT or TRADES with target t in the cross-entropy

t_i is one-hot until epoch E_s. Every later visit moves it towards the prediction of the update itself: on the attacked
image in PGD-AT, on the clean one in TRADES. The attack uses the labels. No forward pass is added.

Source: Huang, Zhang & Zhang, "Self-adaptive training: beyond empirical risk minimization", NeurIPS 2020, arXiv
2002.10319. The form for PGD-AT is [R], and so is taking the weights from the moved targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from cgro.training.averaged_predictions import AveragedPredictions
from cgro.training.observers import Batch, Seen, Weighted


@dataclass(frozen=True)
class SelfAdaptive(AveragedPredictions):
    """PGD-AT or TRADES with targets that adapt from epoch `start` >= 0, with momentum e in [0, 1).

    Raises: UserError for numbers outside of these ranges.
    """

    start: float = 70.0

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        return {"target": nn.functional.one_hot(labels, classes).float()}

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return self.base.ascent(model, batch)

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        moved = self._moved(batch, model(batch.x if self.on_clean else z))
        losses = self.base.losses(model, replace(batch, y=moved), z)
        assert isinstance(losses, Tensor)
        return Weighted(losses, moved.max(dim=1).values)

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        logits = seen.clean if self.on_clean else seen.attacked
        assert logits is not None
        return {"target": self._moved(seen.batch, logits)}

    @torch.no_grad()
    def _moved(self, batch: Batch, logits: Tensor) -> Tensor:
        """Targets after this visit."""
        before = batch.state["target"]
        return before if batch.epoch < self.start else self.averaged(before, logits)
