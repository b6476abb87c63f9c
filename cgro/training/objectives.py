"""Objectives of adversarial training: what the attack maximizes, and the loss of each sample at the points it finds.

    standard     CE(f(x), y)
    PGD-AT       CE(f(z), y),                                         z = argmax CE(f(z), y) in the ball
    mixture      (1 - g) CE(f(x), y) + g CE(f(z), y),                 z as in PGD-AT
    TRADES       CE(f(x), y) + beta KL(f(x) || f(z)),                 z = argmax KL(f(x) || f(z))
    TRADES with adversarial cross-entropy: CE(f(z), y) instead of CE(f(x), y) in TRADES
    MART         BCE(f(z), y) + beta KL(f(x) || f(z)) (1 - p_y(x)),   z as in PGD-AT,
                 BCE(f(z), y) = -log p_y(z) - log(1 - max_{k != y} p_k(z))

KL(f(x) || f(z)) compares the softmax outputs p. Targets y are labels (B,) or, for cross-entropy, probabilities (B, C),
one for each sample. The loop multiplies the losses by sample weights and averages them. Free and fast training minimize
the PGD-AT loss at other points z, see `cgro/training/loop.py`. Sources: Madry et al., ICLR 2018, arXiv:1706.06083;
Zhang et al. (TRADES), ICML 2019; Wang et al. (MART), ICLR 2020; mixture and variant of TRADES: Dong et al., ICLR 2022,
arXiv:2106.01606 [R].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

from cgro.attacks.images import divergence
from cgro.base.errors import UserError
from cgro.training.observers import Batch, Weighted


class Objective(Protocol):
    """Losses are in nats, one per sample; `model` takes images (B, C, S, S) in [0, 1].

    In `losses` the network passes batch.x and z through itself once each, however often they are asked for. An
    objective that keeps something for each image is an `Observer`, too.
    """

    @property
    def attacks(self) -> bool:
        """Whether an attack is needed at all."""

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        """What the attack maximizes: points z -> values (B,). Call it in evaluation mode."""

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor | Weighted:
        """Losses (B,) of the update at attacked images z, in the current mode of the model."""


@dataclass(frozen=True)
class Standard:
    """Training on clean images."""

    attacks = False

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return lambda z: cross_entropy(model(z), batch.y, reduction="none")

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        return cross_entropy(model(batch.x), batch.y, reduction="none")


@dataclass(frozen=True)
class Adversarial:
    """PGD-AT: cross-entropy on the perturbed images."""

    attacks = True

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return lambda z: cross_entropy(model(z), batch.y, reduction="none")

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        return cross_entropy(model(z), batch.y, reduction="none")


@dataclass(frozen=True)
class Mixture:
    """Clean and adversarial cross-entropy; `share` g in [0, 1] is the weight of the adversarial one.

    g = 1 is PGD-AT; g = 0 is standard training, after an attack that nothing uses.
    """

    share: float = 0.5
    attacks = True

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return lambda z: cross_entropy(model(z), batch.y, reduction="none")

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        clean, attacked = (cross_entropy(model(points), batch.y, reduction="none") for points in (batch.x, z))
        return (1 - self.share) * clean + self.share * attacked


@dataclass(frozen=True)
class Trades:
    """TRADES; beta weights the boundary term, 6 in the paper.

    The attack must start at a random point away from x: at x the divergence is 0 and has no gradient.
    """

    beta: float = 6.0
    attacks = True

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            clean = log_softmax(model(batch.x), dim=1)
        return lambda z: divergence(clean, log_softmax(model(z), dim=1))

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        clean, attacked = model(batch.x), model(z)
        boundary = divergence(log_softmax(clean, dim=1), log_softmax(attacked, dim=1))
        return cross_entropy(self.fitted(clean, attacked), batch.y, reduction="none") + self.beta * boundary

    def fitted(self, clean: Tensor, attacked: Tensor) -> Tensor:
        """Which of the logits (B, C) of x and of z the cross-entropy fits to the targets."""
        return clean


@dataclass(frozen=True)
class AdversarialTrades(Trades):
    """TRADES whose cross-entropy is that of the perturbed images."""

    def fitted(self, clean: Tensor, attacked: Tensor) -> Tensor:
        return attacked


@dataclass(frozen=True)
class Mart:
    """MART; beta weights the consistency term, 5 in the paper. Targets must be labels."""

    beta: float = 5.0
    attacks = True

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return lambda z: cross_entropy(model(z), batch.y, reduction="none")

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        if batch.y.ndim > 1:
            raise UserError("MART needs labels, not probabilities: choose another objective")
        clean, attacked = (log_softmax(model(points), dim=1) for points in (batch.x, z))
        own = batch.y[:, None]
        # log(1 - p_k) as the log of the sum of the other probabilities, which stays accurate as p_k nears 1.
        wrong = attacked.scatter(1, own, -torch.inf).argmax(dim=1, keepdim=True)
        others = attacked.scatter(1, wrong, -torch.inf).logsumexp(dim=1)
        boosted = -attacked.gather(1, own)[:, 0] - others
        return boosted + self.beta * divergence(clean, attacked) * (1 - clean.gather(1, own)[:, 0].exp())


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "standard": Standard,
    "adversarial": Adversarial,
    "mixture": Mixture,
    "trades": Trades,
    "trades-adversarial": AdversarialTrades,
    "mart": Mart,
    "free": Adversarial,
}
"""Objectives by name; those of two terms take the weight of the second."""
