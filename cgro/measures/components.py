"""What a trained classifier owes to features that generalize, and what to memorizing its training images.

Margins: m(z) = f_y(z) - max_{k != y} f_k(z); x^ is the point that an attack finds around x. With means over unseen
images, drawn at random from the set that the training images were drawn from, and over training images,

    signal component            S  = mean of m(x) over unseen images
    attacked signal component   S^ = mean of m(x^) over unseen images
    memorized component         M  = mean of m(x^) over training images - S^

Both kinds of images are exchangeable, so M can only come from having been trained on. (The end of a file, or the test
set, would not do: other people wrote those digits, and their shift would count as memory.) In the patch
model of Li & Li (ICML 2025) the three are what the theory follows: a fresh sample has mean margin alpha^q U, under the
attack (alpha - delta)^q U, and a training sample V_i more, so that S = alpha^q U, S^ = (alpha - delta)^q U and M = mean
of V_i [D]. Phase I ends when S reaches 1, the scale of the logistic loss, phase II when M does; in between the robust
training loss stands still near what S^ alone leaves of it.
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
"""What `margins_and_losses` measures."""


def margins(logits: Tensor, y: Tensor) -> Tensor:
    """m (B,) of logits (B, K) and labels (B,): positive where the label has the largest one.

    Raises: UserError for other shapes, types and labels.
    """
    logits = require_logits(logits, len(logits))
    return _margins(logits, require_labels(y, len(logits), logits.shape[1]))


@torch.no_grad()
def margins_and_losses(
    model: nn.Module, images: Images, attack: Attack, generator: torch.Generator | None, *, batch_size: int = 512
) -> dict[str, float]:
    """Mean margins and cross-entropies (nats) of images, clean and at the points that `attack` finds, by `NAMES`.

    Raises: UserError for a network, images, labels, a radius or a batch size that do not go together.
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
