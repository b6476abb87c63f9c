"""The strong evaluation: an ensemble of attacks, each on the images that withstood the earlier ones, in full batches.

1. PGD of 20 steps: cheap, and enough for most images that can be broken.
2. APGD on the cross-entropy.
3. APGD on the targeted DLR loss (margins for fewer than four classes) at every other class, the `targets` likeliest
   ones at most. Every class first gets a fifth of the steps, and only the `finalists` whose margins came closest get
   all of them: unreachable classes are recognized early.

The last two are the first two of AutoAttack (Croce & Hein, ICML 2020); `benchmarks/attacks.py` compares both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgro.attacks.apgd import apgd_search
from cgro.attacks.arguments import require_images
from cgro.attacks.ball import Budget
from cgro.attacks.gradient_masking import Aim, look
from cgro.attacks.images import Attack, Goal, LossName, Search, attacked, pgd_search, starts
from cgro.attacks.modes import judging
from cgro.base.randomness import Stream, at
from cgro.base.validate import integer
from cgro.data.batches import Images

_PGD_STEPS = 20


@dataclass(frozen=True)
class AttackEnsemble:
    """The ensemble: steps of APGD, target classes, and how many of these get all the steps; each >= 1."""

    budget: Budget
    steps: int = 100
    targets: int = 9
    finalists: int = 3

    def __post_init__(self) -> None:
        for name in ("steps", "targets", "finalists"):
            integer(name, getattr(self, name), low=1)

    @torch.no_grad()
    def correct(
        self,
        model: nn.Module,
        data: Images,
        stream: Stream,
        *,
        batch_size: int = 512,
        tick: Callable[[float], object] = lambda _done: None,
    ) -> dict[str, Tensor]:
        """Which images are correct, bool (N,), clean and after each attack: 'clean', 'pgd', 'apgd-ce', 'apgd-targeted'.

        `tick` receives the images done, perhaps fractional. Raises and warns as `correct` of `images.py`.
        """
        data = require_images(data, model, self.budget, batch_size)
        with judging(model):
            clean = look(model, data, batch_size)
            clean.warn()
            aim = clean.aim(model)
            logits = torch.cat([_seen(aim, x) for x, _ in data.batches(torch.arange(len(data)), batch_size)])
            classes = logits.shape[1]
            loss: LossName = "dlr" if classes >= 4 else "cw"
            order = logits.scatter(1, data.labels[:, None], -torch.inf).argsort(1, descending=True)
            count = min(self.targets, classes - 1)
            finalists, short = min(self.finalists, count), max(1, self.steps // 5)
            work = _PGD_STEPS + self.steps + count * short + finalists * self.steps
            left = _Left(model, data, clean.right.clone(), self.budget, batch_size, tick, work, aim)
            found = {"clean": left.right.clone()}
            left.attack(
                pgd_search(Attack(self.budget, _PGD_STEPS, relative_step=1.0, decay=True)), _PGD_STEPS, at(stream, 0)
            )
            found["pgd"] = left.right.clone()
            left.attack(apgd_search(self.steps), self.steps, at(stream, 1))
            found["apgd-ce"] = left.right.clone()
            near = torch.full((len(data), count), -torch.inf, device=logits.device)
            for k in range(count):
                near[:, k] = left.attack(apgd_search(short), short, at(stream, 2, k), loss, order[:, k])
            nearest = near.argsort(1, descending=True)
            for k in range(finalists):
                target = order.gather(1, nearest[:, k : k + 1])[:, 0]
                left.attack(apgd_search(self.steps), self.steps, at(stream, 3, k), loss, target)
            return found | {"apgd-targeted": left.right}


class _Left:
    """The images `right`, bool (N,), that no attack has broken yet; `work` counts the steps that each may take."""

    def __init__(
        self,
        model: nn.Module,
        data: Images,
        right: Tensor,
        budget: Budget,
        batch_size: int,
        tick: Callable[[float], object],
        work: int,
        aim: Aim,
    ) -> None:
        self.model, self.data, self.right, self.budget, self.batch_size = model, data, right, budget, batch_size
        self.tick, self.work, self.to_do, self.aim = tick, work, work, aim
        tick(len(right) - int(right.sum()))

    def attack(
        self, search: Search, steps: int, stream: Stream, loss: LossName = "ce", targets: Tensor | None = None
    ) -> Tensor:
        """Attack them in whole batches; the losses (N,) reached, -inf for images that are broken."""
        reached = torch.full((len(self.right),), -torch.inf, device=self.right.device)
        self.to_do -= steps
        left = self.right.nonzero()[:, 0]
        for number, indices in enumerate(left.split(self.batch_size) if len(left) else ()):
            x, y = next(self.data.batches(indices, len(indices)))
            goal = Goal(self.model, x, y, loss, None if targets is None else targets[indices])
            generator = starts(self.budget, at(stream, number), x.device, first=True)
            loss_there, broken = attacked(goal, search, self.budget, generator, self.aim)
            self.right[indices] = ~broken
            reached[indices] = loss_there.masked_fill(broken, -torch.inf)
            self.tick((steps * len(indices) + self.to_do * int(broken.sum())) / self.work)
        return reached


def _seen(aim: Aim, x: Tensor) -> Tensor:
    return aim.network(x if aim.dtype is None else x.to(aim.dtype))
