"""Treatments of training images by given scores, such as memorization scores: N numbers in [-1, 1], in their order.

    reweighting    loss sum_i w_i l_i / sum_i w_i over the batch, w_i = exp(-a max(score_i, 0))
    smoothing      targets (1 - s_i) one-hot + s_i / K,   s_i = s max(score_i, 0), or s times the rank in [0, 1]
    dropping       w_i = 0 for the images with the highest scores, 1 for the others

l_i are the losses of PGD-AT or TRADES; the attack on smoothed targets ascends with them, as in label smoothing. The
control of all three is the same treatment with `shuffled` scores.

The rules are ours [D]. Zhang, Hong & Zhao ("Memorization weights for instance reweighting in adversarial training",
AAAI 2023, doi:10.1609/aaai.v37i9.26329) weigh images by how typical they are of the prototypes in a memory bank; of
their paper only the abstract was at hand, so that `Reweighting` is not their method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import scipy  # its parts are imported when first used
import torch
from torch import Tensor, nn

from cgro.base.errors import UserError
from cgro.base.randomness import at, torch_generator
from cgro.base.validate import at_least, between, integer, one_of
from cgro.training.objectives import Adversarial, Trades
from cgro.training.observers import Batch, Observer, Seen, Weighted
from cgro.training.sample_weights import SampleWeights, require_class_labels

By = Literal["score", "rank"]


def require_scores(scores: Tensor | np.ndarray, images: int | None = None) -> Tensor:
    """Scores (N,) as float32. Raises: UserError unless they are numbers in [-1, 1], one for each of `images`."""
    found = torch.as_tensor(scores).detach().cpu()
    if found.ndim != 1 or not len(found) or found.dtype == torch.bool or found.is_complex():
        raise UserError(f"scores must be a row of numbers, got {found.dtype} of shape {tuple(found.shape)}")
    if images is not None and len(found) != images:
        raise UserError(f"scores must be one for each of the {images} training images, got {len(found)}")
    wrong = (~((found >= -1) & (found <= 1))).nonzero()
    if len(wrong):
        first = int(wrong[0, 0])
        raise UserError(f"scores must be in [-1, 1], got {float(found[first]):g} at index {first}")
    return found.float()


def shuffled(scores: Tensor | np.ndarray, seed: int = 0) -> Tensor:
    """The same scores on other images, in a random order drawn once: the control of a treatment by scores.

    Raises: UserError for impossible scores and negative seeds.
    """
    found = require_scores(scores)
    stream = at(np.random.SeedSequence(integer("seed", seed, low=0)), 0)
    return found[torch.randperm(len(found), generator=torch_generator(stream))]


def highest(scores: Tensor | np.ndarray, fraction: float) -> Tensor:
    """Which images are the `fraction` in [0, 1) with the highest scores, bool (N,); of equal scores, the first.

    Their number is rounded to the nearest integer, but some image is always left.

    Raises: UserError for impossible scores and fractions.
    """
    found = require_scores(scores)
    count = min(round(between("fraction", fraction, 0, 1, open_high=True) * len(found)), len(found) - 1)
    chosen = torch.zeros(len(found), dtype=torch.bool)
    chosen[found.argsort(descending=True, stable=True)[:count]] = True
    return chosen


def _require_base(base: object) -> None:
    one_of("base", type(base).__name__, ("Adversarial", "Trades"))


class _FixedWeights(SampleWeights):
    """PGD-AT or TRADES with weights that are given from the beginning."""

    base: Adversarial | Trades

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return self.base.ascent(model, batch)

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Weighted:
        return Weighted(self.base.losses(model, batch, z), batch.state["weight"])

    def observe(self, seen: Seen) -> Mapping[str, Tensor]:
        return {}


@dataclass(frozen=True, eq=False)
class Reweighting(_FixedWeights):
    """Smaller weights for higher scores; the tensor `weight` (N,) holds w.

    scores: (N,) in [-1, 1]. strength: a >= 0 [D]. base: PGD-AT or TRADES.

    Raises: UserError for impossible values, and in training for scores of another number of images.
    """

    scores: Tensor | np.ndarray
    strength: float = 1.0
    base: Adversarial | Trades = field(default_factory=Adversarial)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", require_scores(self.scores))
        at_least("strength", self.strength, 0)
        _require_base(self.base)

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        scores = require_scores(self.scores, len(labels))
        return {"weight": torch.exp(-self.strength * scores.clamp_min(0))}


@dataclass(frozen=True, eq=False)
class Dropping(_FixedWeights):
    """Images that do not count; the tensor `weight` (N,) is 0 for them and 1 for the others.

    They stay in the batches, so that all other draws are those of the training without dropping. dropped: bool (N,),
    e.g. `highest(scores, 0.1)`. base: PGD-AT or TRADES.

    Raises: UserError for another type, for no image left, and in training for another number of images.
    """

    dropped: Tensor
    base: Adversarial | Trades = field(default_factory=Adversarial)

    def __post_init__(self) -> None:
        object.__setattr__(self, "dropped", torch.as_tensor(self.dropped).detach().cpu())
        if self.dropped.dtype != torch.bool or self.dropped.ndim != 1:
            raise UserError(
                f"dropped must be a row of truth values, got {self.dropped.dtype} of shape "
                f"{tuple(self.dropped.shape)}: choose images by highest(scores, fraction)"
            )
        if bool(self.dropped.all()):
            raise UserError(f"dropped must leave an image, got all {len(self.dropped)}")
        _require_base(self.base)

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        if len(self.dropped) != len(labels):
            raise UserError(
                f"dropped, or the scores it is of, must be one for each of the {len(labels)} training images, got "
                f"{len(self.dropped)}"
            )
        return {"weight": (~self.dropped).float()}


@dataclass(frozen=True, eq=False)
class Smoothing(Observer):
    """Label smoothing in proportion to the scores; the tensor `smoothing` (N,) holds s_i, `target` (N, K) the targets.

    scores: (N,) in [-1, 1]. strength: s in [0, 1]; with 1, an image of score 1 has a uniform target [D]. by: the score
    itself, 0 below 0, or its rank, 0 for the lowest and 1 for the highest, equal scores sharing their mean rank [D].
    base: PGD-AT or TRADES.

    Raises: UserError for impossible values, and in training for scores of another number of images.
    """

    scores: Tensor | np.ndarray
    strength: float = 0.2
    by: By = "score"
    base: Adversarial | Trades = field(default_factory=Adversarial)
    attacks = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", require_scores(self.scores))
        between("strength", self.strength, 0, 1)
        one_of("by", self.by, get_args(By))
        _require_base(self.base)

    def initial(self, labels: Tensor, classes: int) -> dict[str, Tensor]:
        scores = require_scores(self.scores, len(labels))
        scaled = scores.clamp_min(0)
        if self.by == "rank":
            ranks = scipy.stats.rankdata(scores.numpy()) - 1
            scaled = torch.from_numpy(ranks / max(len(ranks) - 1, 1)).float()
        smoothing = (self.strength * scaled).to(labels.device)
        one_hot = nn.functional.one_hot(labels, classes)
        share = smoothing[:, None]
        return {"smoothing": smoothing, "target": (1 - share) * one_hot + share / classes}

    def ascent(self, model: nn.Module, batch: Batch) -> Callable[[Tensor], Tensor]:
        return self.base.ascent(model, self._smoothed(batch))

    def losses(self, model: nn.Module, batch: Batch, z: Tensor) -> Tensor:
        return self.base.losses(model, self._smoothed(batch), z)

    def _smoothed(self, batch: Batch) -> Batch:
        require_class_labels("smoothing by scores", batch)
        return replace(batch, y=batch.state["target"])
