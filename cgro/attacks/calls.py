"""The common signature of all attacks on images: attack(model, x, y, budget) -> points.

Images x are floats (B, C, H, W) in [0, 1], labels y int64 (B,), and the points have the shape of x. `PGD` and `APGD`
are such attacks, and so is any function of yours. Callers
project the points exactly onto the ball and classify them again, so that an attack cannot report more than it found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor, nn

from cgro.attacks.apgd import apgd_search
from cgro.attacks.arguments import require_fits, right
from cgro.attacks.ball import Budget, inside
from cgro.attacks.gradient_masking import look
from cgro.attacks.images import BOX, Attack, Goal, LossName, Search, pgd_search, starts
from cgro.attacks.modes import judging
from cgro.base.errors import UserError
from cgro.base.randomness import at
from cgro.base.validate import integer, one_of
from cgro.data.batches import Images

AttackCall = Callable[[nn.Module, Tensor, Tensor, Budget], Tensor]
"""(model, images, labels, budget) -> points of the same shape, each near its image."""


@dataclass(frozen=True)
class _Searching:
    """Common part of PGD and APGD: a search with restarts on the images not yet broken."""

    steps: int
    restarts: int = 1
    loss: LossName = "ce"
    seed: int = 0

    def __post_init__(self) -> None:
        integer("steps", self.steps, low=1)
        integer("restarts", self.restarts, low=1)
        one_of("loss", self.loss, get_args(LossName))

    def search(self, budget: Budget) -> Search:
        """The search for points within a budget."""
        raise NotImplementedError

    @torch.no_grad()
    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, budget: Budget) -> Tensor:
        """Points near `x`, in the ball exactly; those that break the network where they were found."""
        require_fits(budget, x.shape[1:])
        search, stream, points = self.search(budget), np.random.SeedSequence(self.seed), x.clone()
        left = torch.arange(len(x), device=x.device)
        with judging(model):
            aim = look(model, Images(x, y, 1), len(x)).aim(model)
            for restart in range(self.restarts):
                goal = Goal(model, x[left], y[left], self.loss)
                generator = starts(budget, at(stream, restart), x.device, first=restart == 0)
                points[left] = inside(search(goal.seen_by(aim), budget, generator), goal.x, budget, BOX)
                left = left[right(model(points[left]), y[left])]
                if not len(left):
                    break
        return points


@dataclass(frozen=True)
class PGD(_Searching):
    """Projected gradient ascent on the cross-entropy: `steps` that begin at the radius and shrink, from random starts.

    An image is no longer attacked once one of the `restarts` has broken it.

        >>> import torch, cgro
        >>> data = cgro.load_images("digits")
        >>> x, y = data.test_images[:8] / data.white, data.test_labels[:8]
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> z = cgro.PGD(steps=5)(model, x, y, cgro.Budget("inf", 0.1))
        >>> bool((z - x).abs().max() <= 0.1)
        True

    Raises: UserError for steps or restarts below 1.
    Reference: Madry et al., ICLR 2018, arXiv:1706.06083.
    """

    steps: int = 20

    def search(self, budget: Budget) -> Search:
        return pgd_search(Attack(budget, self.steps, relative_step=1.0, decay=True, loss=self.loss))


@dataclass(frozen=True)
class APGD(_Searching):
    """PGD with momentum and adaptive step sizes: the attack of AutoAttack.

        >>> import torch, cgro
        >>> data = cgro.load_images("digits")
        >>> x, y = data.test_images[:8] / data.white, data.test_labels[:8]
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> z = cgro.APGD(steps=10, loss="dlr")(model, x, y, cgro.Budget("2", 0.5))
        >>> bool((z - x).flatten(1).norm(dim=1).max() <= 0.5 + 1e-6)
        True

    Raises: UserError for steps or restarts below 1.
    Reference: Croce & Hein, ICML 2020, arXiv:2003.01690.
    """

    steps: int = 100

    def search(self, budget: Budget) -> Search:
        return apgd_search(self.steps)


@torch.no_grad()
def survivors(
    attack: AttackCall,
    model: nn.Module,
    data: Images,
    budget: Budget,
    *,
    batch_size: int = 256,
    tick: Callable[[int], object] = lambda _done: None,
) -> Tensor:
    """Which images are still classified correctly at the points of the attack, bool (N,).

    The points are moved into the ball exactly, and judged in evaluation mode whatever the attack does to the model.

    Raises: UserError where the attack returns other shapes, or values that are not finite.
    """
    found = []
    for x, y in data.batches(torch.arange(len(data)), batch_size):
        with judging(model), torch.enable_grad():
            z = require_points(attack(model, x, y, budget), x)
        with judging(model):
            found.append(right(model(inside(z, x, budget, BOX)), y))
        tick(len(y))
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.bool, device=data.labels.device)


def require_points(z: Tensor, x: Tensor) -> Tensor:
    """What an attack returned, if it is one finite point for each image; without its graph. Raises: UserError."""
    if not isinstance(z, Tensor) or z.shape != x.shape:
        what = tuple(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise UserError(f"attack must return one point for each of the images {tuple(x.shape)}, got {what}")
    if not bool(z.isfinite().all()):
        raise UserError("attack must return points in [0, 1], got values that are not finite")
    return z.detach().to(x)
