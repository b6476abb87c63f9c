"""How much of a classifier's margin comes from generalizing features, and how much from memorized training images.

The margin is m(z) = f_y(z) - max_{k != y} f_k(z); x^ is the point that an attack finds around x. Unseen images are
drawn at random from the same set as the training images. Then

    signal component            S  = mean of m(x) over unseen images
    attacked signal component   S^ = mean of m(x^) over unseen images
    memorized component         M  = mean of m(x^) over training images - S^

Training and unseen images are exchangeable, so M can only come from training on them. (The end of a file or the test
set will not do: other people wrote those digits, and the distribution shift would count as memorization.) In the patch
model of Li & Li (ICML 2025, arXiv:2306.01271) these are the quantities of the theory: a fresh sample has mean margin
alpha^q U, and (alpha - delta)^q U under attack; a training sample has V_i more. Hence S = alpha^q U,
S^ = (alpha - delta)^q U and M = mean of V_i [D]. Phase I ends when S reaches 1, the scale of the logistic loss, and
phase II when M does; in between the robust training loss stays near the value that S^ alone gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.arguments import require_images, require_labels, require_logits
from cgro.attacks.gradient_masking import margins as _margins
from cgro.attacks.images import Attack, Goal
from cgro.attacks.modes import judging
from cgro.data.batches import Images

NAMES = ("clean_margin", "attacked_margin", "clean_loss", "attacked_loss")
"""The quantities measured by `margins_and_losses`."""


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """m (B,) of logits (B, K) and labels (B,): positive if the label has the largest logit.

    Raises: UserError for other shapes, types and labels.
    """
    logits = require_logits(logits, len(logits))
    return _margins(logits, require_labels(y, len(logits), logits.shape[1]))


@torch.no_grad()
def margins_and_losses(
    model: nn.Module, images: Images, attack: Attack, generator: torch.Generator | None, *, batch_size: int = 512
) -> dict[str, float]:
    """Mean margins and cross-entropies (nats) of images, clean and at the points that `attack` finds, by `NAMES`.

    Raises: UserError for an incompatible network, images, labels, radius or batch size.
    """
    images = require_images(images, model, attack.budget, batch_size)
    found: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    with judging(model):
        for x, y in images.batches(torch.arange(len(images)), batch_size):
            z = attack.ascend(Goal(model, x, y, attack.loss), x, generator)
            for kind, points in (("clean", x), ("attacked", z)):
                logits = model(points)
                found[f"{kind}_margin"].append(margins(logits, y))
                found[f"{kind}_loss"].append(cross_entropy(logits, y, reduction="none"))
    return {name: float(torch.cat(parts).double().mean()) for name, parts in found.items()}
