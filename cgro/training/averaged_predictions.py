"""What temporal ensembling and self-adaptive training share: PGD-AT or TRADES, and predictions averaged per sample."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from cgro.base.validate import at_least, between, one_of
from cgro.training.ensembling import updated
from cgro.training.objectives import Adversarial, Trades
from cgro.training.observers import Observer


@dataclass(frozen=True)
class AveragedPredictions(Observer):
    """base: the objective; momentum: e in [0, 1); start: completed epochs, at least 0, before averaging begins.

    Raises: UserError for numbers outside of these ranges.
    """

    base: Adversarial | Trades = field(default_factory=Adversarial)
    momentum: float = 0.9
    start: float = 0.0
    attacks = True

    def __post_init__(self) -> None:
        one_of("base", type(self.base).__name__, ("Adversarial", "Trades"))
        between("momentum", self.momentum, 0, 1, open_high=True)
        at_least("start", self.start, 0)

    @property
    def on_clean(self) -> bool:
        """Whether the loss of a prediction is on the clean image, as in TRADES, or on the attacked one."""
        return isinstance(self.base, Trades)

    def averaged(self, before: Tensor, logits: Tensor) -> Tensor:
        """Average (B, K) after one more prediction."""
        return updated(before, logits.softmax(dim=1), self.momentum)
