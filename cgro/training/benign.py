"""Benign Adversarial Training (BAT): misclassified images that resemble another class count less.

    q_i = max_{c != y_i} softmax_c f(z_i)                                poisoning score
    w_i = exp(-a q_i) if f errs at z_i, else 1                           constants for the gradient
    L   = sum_i w_i CE(f(z_i), y_i) / sum_i w_i + b DL                   over the whole batch
    DL  = mean_i -log( sum_{j: y_j = y_i, j != i} e^{s_ij} / sum_k e^{s_ik} ),   s_ij = cos(h_i, h_j) / tau

h are penultimate features, and i runs over the images that have a partner of their class in the batch. The sum over
partners is inside the logarithm, as for soft nearest neighbours. The attack is that of PGD-AT.

Source: Xu et al., "Towards the memorization effect of neural networks in adversarial training", arXiv:2106.04794. The
formulas are recalled, not copied from the paper [R]; each choice is a parameter of `Benign`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.base.validate import above, at_least, one_of
from cgro.models.features import features
from cgro.training.observers import Batch, Weighted
from cgro.training.sample_weights import SampleWeights, require_class_labels

Points = Literal["attacked", "clean"]
Against = Literal["others", "classes"]


def poisoning_score(logits: Tensor, y: Tensor) -> Tensor:
    """q (B,): the largest probability of a class other than the label, for logits (B, K)."""
    return logits.softmax(dim=1).scatter(1, y[:, None], 0.0).max(dim=1).values


def benign_weights(logits: Tensor, y: Tensor, strength: float = 1.0) -> Tensor:
    """w (B,), detached: exp(-a q) where the largest logit is not that of the label, 1 elsewhere."""
    logits = logits.detach()
    return torch.where(logits.argmax(1) != y, torch.exp(-strength * poisoning_score(logits, y)), 1.0)


def discrimination(h: Tensor, y: Tensor, temperature: float = 0.1, against: Against = "others") -> Tensor:
    """DL () of features (B, F) with labels (B,): the mean over images that have a partner, 0 if none has.

    against: what the denominator sums over: all other images, as in the supervised contrastive loss, so that DL >= 0;
    or those of other classes alone, which may be negative, down to log(others / partners) - 2 / temperature, and where
    images without such others do not count.
    """
    h = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
    lengths = h.norm(dim=1, keepdim=True)
    h = h / torch.where(lengths > 0, lengths, 1.0)  # features that are all 0 have cosine 0 and no huge gradient
    similar = h @ h.T / temperature
    alike, own = y[:, None] == y[None, :], torch.eye(len(y), dtype=torch.bool, device=y.device)
    partners, rest = alike & ~own, ~own if against == "others" else ~alike
    counted = partners.any(1) & rest.any(1)
    # Rows that do not count sum over everything instead of nothing, whose logarithm has no gradient.
    above, below = (
        similar.masked_fill(~(part | ~counted[:, None]), -torch.inf).logsumexp(1) for part in (partners, rest)
    )
    return torch.where(counted, below - above, 0.0).sum() / counted.sum().clamp_min(1)


@dataclass(frozen=True)
class Benign(SampleWeights):
    """BAT; its tensor `weight` (N,) holds w of the last visit, and 1 during the warm-up.

    strength: a >= 0, 1 or 2 in the paper [R].
    discrimination: b >= 0, about 0.2 in the paper [R]. Above 0, batches must be whole: the loss of a pair needs both of
        its images, so that micro-batches, several processes and compiled networks are refused.
    temperature: tau > 0; 0.1 is usual in contrastive learning, that of the paper is not known [R].
    start: completed epochs, at least 0, before the weights act [R]; the discrimination loss acts from the beginning.
    points: whose features are discriminated, the attacked images or the clean ones, which takes one more forward pass
        [R].
    against: the denominator, see `discrimination` [R].

    Raises: UserError for numbers outside of these ranges.
    """

    strength: float = 1.0
    discrimination: float = 0.2
    temperature: float = 0.1
    start: float = 0.0
    points: Points = "attacked"
    against: Against = "others"

    def __post_init__(self) -> None:
        for name in ("strength", "discrimination", "start"):
            at_least(name, getattr(self, name), 0)
        above("temperature", self.temperature, 0)
        one_of("points", self.points, get_args(Points))
        one_of("against", self.against, get_args(Against))

    @property
    def whole_batches(self) -> bool:  # type: ignore[override]
        """Whether pairs of images enter the loss."""
        return self.discrimination > 0

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        require_class_labels("BAT", batch)
        pairs = torch.zeros((), device=z.device)
        if self.discrimination > 0:
            _, h = features(model, z if self.points == "attacked" else batch.x)
            pairs = discrimination(h, batch.y, self.temperature, self.against)
        logits = model(z)
        weights = torch.ones_like(logits[:, 0])
        if batch.epoch >= self.start:
            weights = benign_weights(logits, batch.y, self.strength)
        # The weighted mean of a constant is that constant: the weights act on the cross-entropy alone.
        losses = cross_entropy(logits, batch.y, reduction="none") + self.discrimination * pairs
        return Weighted(losses, weights.detach())
