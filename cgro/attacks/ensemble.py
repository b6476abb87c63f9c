"""The strong evaluation: an ensemble of attacks, each on the images that those before have left.

1. PGD of 20 steps: cheap, and enough for most images that can be broken.
2. APGD on the cross-entropy.
3. APGD on the targeted DLR loss (margins for fewer than four classes) at every other class, the `targets` likeliest
   ones at most. Every class first gets a fifth of the steps, and only the `finalists` whose margins came closest get
   all of them: classes that are out of reach show it early.

The last two are the first two of AutoAttack (Croce & Hein, ICML 2020); `benchmarks/attacks.py` compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cgro.attacks.apgd import apgd_search
from cgro.attacks.ball import Budget
from cgro.attacks.images import Attack, Goal, LossName, evaluating, pgd_search, survivors
from cgro.data.batches import Images
from cgro.randomness import Stream, at, torch_generator


@dataclass(frozen=True)
class Strong:
    """The ensemble: steps of APGD >= 1, classes to aim at and those of them that get all steps, both >= 1."""

    budget: Budget
    steps: int = 100
    targets: int = 9
    finalists: int = 3

    @torch.no_grad()
    def correct(
        self,
        model: nn.Module,
        data: Images,
        stream: Stream,
        *,
        batch_size: int = 512,
        tick: Callable[[int], object] = lambda _done: None,
    ) -> dict[str, Tensor]:
        """Which images are correct, bool (N,), clean and after each stage: 'clean', 'pgd', 'apgd-ce', 'apgd-targeted'.

        `tick` is told how many images are done.
        """
        found: dict[str, list[Tensor]] = {}
        with evaluating(model):
            for number, (x, y) in enumerate(data.batches(torch.arange(len(data)), batch_size)):
                for name, right in self._stages(model, x, y, at(stream, number)):
                    found.setdefault(name, []).append(right)
                tick(len(y))
        return {name: torch.cat(parts) for name, parts in found.items()}

    def _stages(self, model: nn.Module, x: Tensor, y: Tensor, stream: Stream) -> Iterator[tuple[str, Tensor]]:
        logits = model(x)
        right = logits.argmax(1) == y
        yield "clean", right
        l1 = self.budget.norm == "1"
        draws = [torch_generator(at(stream, k), x.device) for k in range(2 + self.targets)]
        pgd = pgd_search(Attack(self.budget, 20, relative_step=1.0, decay=True))
        right = survivors(model, x, y, right, pgd, self.budget, None if l1 else draws[0])
        yield "pgd", right
        right = survivors(model, x, y, right, apgd_search(self.steps), self.budget, None if l1 else draws[1])
        yield "apgd-ce", right
        yield "apgd-targeted", self._targeted(model, x, y, logits, right, draws[2:])

    def _targeted(
        self, model: nn.Module, x: Tensor, y: Tensor, logits: Tensor, right: Tensor, draws: list[torch.Generator]
    ) -> Tensor:
        classes = logits.shape[1]
        loss: LossName = "dlr" if classes >= 4 else "cw"
        order = logits.scatter(1, y[:, None], -torch.inf).argsort(1, descending=True)
        count = min(self.targets, classes - 1)
        short = apgd_search(max(1, self.steps // 5))
        margins = torch.full((len(y), count), -torch.inf, device=x.device)
        for k in range(count):
            right, margins[:, k] = self._aimed(model, x, y, right, order[:, k], short, draws[k], loss)
        if count > 0:
            nearest = margins.argsort(1, descending=True)
            for k in range(min(self.finalists, count)):
                target = order.gather(1, nearest[:, k : k + 1])[:, 0]
                right, _ = self._aimed(model, x, y, right, target, apgd_search(self.steps), draws[k], loss)
        return right

    def _aimed(
        self, model: nn.Module, x: Tensor, y: Tensor, right: Tensor, target: Tensor, search: Callable[..., Tensor],
        generator: torch.Generator, loss: LossName,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Images that are left, and how close the points found came: the targeted loss, -inf for broken images."""
        reached = torch.full((len(y),), -torch.inf, device=x.device)
        start = None if self.budget.norm == "1" else generator

        def kept(goal: Goal, budget: Budget, generator: torch.Generator | None) -> Tensor:
            z = search(goal, budget, generator)
            reached[right.nonzero()[:, 0]] = goal(z)
            return z

        still = survivors(model, x, y, right, kept, self.budget, start, loss, target)
        return still, torch.where(still, reached, -torch.inf)
