"""Gradient masking: whether gradients can guide an attack, and how to search where they vanish.

A network whose outputs saturate (probabilities, or logits scaled up) has input gradients that are 0 in float32: attacks
make no progress, and images falsely look robust. The remedies here: the loss of `images.py` does not saturate in the
logits; probabilities are attacked by their logarithms, which are logits again; and where even margins are flat in
float32 alone, the search sees a float64 copy of the network. What it finds counts only if the network itself errs
there. Reference: Athalye, Carlini & Wagner, "Obfuscated gradients give a false sense of security", ICML 2018; Croce &
Hein, ICML 2020, on the scale of logits [R].
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.arguments import answer, finite_rows, require_labels, right
from cgro.attacks.pgd import gradient_of
from cgro.base.errors import AccuracyWarning
from cgro.data.batches import Images

TINY = 1e-30
"""Gradients of the cross-entropy whose entries are all smaller vanish: the margin exceeds about 70 nats."""
SHARE = 0.01
"""Fraction of correct images above which vanishing gradients are reported."""


@dataclass(frozen=True)
class Look:
    """A network on clean images: its predictions, and whether its gradients can guide an attack."""

    logits: Tensor
    """(N, K)"""
    right: Tensor
    """Which images it classifies correctly, bool (N,)."""
    vanishing: int
    """Correct images at which the cross-entropy has no input gradient, by `TINY`."""
    rounded: int
    """Those of them at which the margin has none either, but has one in float64."""
    probabilities: bool
    """Whether the outputs are probabilities."""
    sample: Tensor
    """An image, to try a network on."""

    @property
    def not_finite(self) -> int:
        """Images with a logit that is not finite; they count as errors."""
        return int((~finite_rows(self.logits)).sum())

    @property
    def constant(self) -> bool:
        """Whether all images have the same logits: such a network has no gradients to mask."""
        return len(self.logits) > 1 and bool((self.logits == self.logits[0]).all())

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "correct_images": int(self.right.sum()),
            "vanishing_gradients": self.vanishing,
            "outputs": "probabilities" if self.probabilities else "logits",
            "not_finite": self.not_finite,
        }

    def complaints(self) -> list[str]:
        """Reasons to doubt the robust accuracy, one sentence each."""
        found, correct = [], int(self.right.sum())
        if self.not_finite:
            found.append(f"{self.not_finite} of {len(self.logits)} images have logits that are not finite: errors")
        if self.probabilities:
            found.append(
                "the network returns probabilities, whose gradients vanish where they saturate: attacked are their "
                "logarithms; leave the last softmax out"
            )
        if self.vanishing > SHARE * correct and not self.constant:
            found.append(
                f"the gradient of the cross-entropy vanishes at {self.vanishing} of {correct} correct images: other "
                "attacks by gradients are blind there, and these search by margins; return logits of ordinary size, "
                "and judge the network by attacks without gradients, too"
            )
        return found

    def warn(self) -> None:
        """Issue each reason as an `AccuracyWarning`."""
        for complaint in self.complaints():
            warnings.warn(complaint, AccuracyWarning, stacklevel=4)

    def aim(self, model: nn.Module) -> Aim:
        """The model that the search uses: the model itself, or a substitute with better gradients if its own fail."""
        if not (self.probabilities or self.rounded):
            return Aim(model)
        wide = _in_float64(model, self.sample)
        seen = model if wide is None else wide
        return Aim(_Logarithms(seen) if self.probabilities else seen, None if wide is None else torch.float64)


@dataclass(frozen=True)
class Aim:
    """A network to search on, and the dtype of the points there; None: that of the images."""

    network: Callable[[Tensor], Tensor]
    dtype: torch.dtype | None = None


class _Logarithms(nn.Module):
    """Logits of a network that returns probabilities."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, z: Tensor) -> Tensor:
        p = self.inner(z)
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()


@torch.no_grad()
def look(model: nn.Module, data: Images, batch_size: int, *, gradients: bool = True) -> Look:
    """Look at clean images; the model is in evaluation mode. Raises: UserError for what is not a classifier of them."""
    parts, vanishing, rounded = [], 0, 0
    for x, y in data.batches(torch.arange(len(data)), batch_size):
        logits = answer(model, x)
        require_labels(y, len(y), logits.shape[1])
        parts.append(logits)
        left = right(logits, y).nonzero()[:, 0]
        if gradients and len(left):
            left = left[_vanishes(partial(_loss, model, y[left]), x[left])]
            vanishing += len(left)
            rounded += _rounded(model, x[left], y[left]) if len(left) else 0
    logits, sample = torch.cat(parts), data.scaled(data.pixels[:1])
    return Look(logits, right(logits, data.labels), vanishing, rounded, _are_probabilities(logits), sample)


def _rounded(model: nn.Module, x: Tensor, y: Tensor) -> int:
    """Images at which the margin has no gradient, but has one in float64: none where units of the network are dead."""
    flat = _vanishes(partial(_margin, model, y), x)
    wide = _in_float64(model, x[:1]) if flat.any() else None
    return 0 if wide is None else int((~_vanishes(partial(_margin, wide, y[flat]), x[flat].double(), 0.0)).sum())


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """f_y - max_{k != y} f_k (B,) of logits (B, K): positive where the label has the largest one."""
    own = logits.gather(1, y[:, None])[:, 0]
    return own - logits.scatter(1, y[:, None], -torch.inf).amax(1)


def _loss(model: nn.Module, y: Tensor, z: Tensor) -> Tensor:
    return cross_entropy(model(z), y, reduction="none")


def _margin(model: nn.Module, y: Tensor, z: Tensor) -> Tensor:
    return margins(model(z), y)


def _vanishes(loss: Callable[[Tensor], Tensor], x: Tensor, tiny: float = TINY) -> Tensor:
    return gradient_of(loss, x).flatten(1).abs().amax(1) <= tiny


def _are_probabilities(logits: Tensor) -> bool:
    known = logits[finite_rows(logits)]
    return bool(len(known)) and bool((known >= 0).all()) and bool(((known.sum(1) - 1).abs() < 1e-3).all())


def _in_float64(model: nn.Module, x: Tensor) -> nn.Module | None:
    """A float64 copy of the network; None where it cannot be copied or has float32 in its code."""
    try:
        wide = copy.deepcopy(model).double()
        wide(x.double())
    except (RuntimeError, TypeError, ValueError):
        return None
    return wide
