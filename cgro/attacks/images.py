"""Attacks on image classifiers: PGD with restarts under a named loss, and which images survive.

Losses of the logits f, to be made large:

    ce     cross-entropy
    cw     max_{k != y} f_k - f_y, the margin of Carlini & Wagner (2017), without their confidence
    dlr    (max_{k != y} f_k - f_y) / (f_(1) - f_(3)), f_(1) >= f_(2) >= ... (Croce & Hein, ICML 2020); scale-free
    kl     KL(softmax f(x) || softmax f(z)), the ascent of TRADES

and targeted at a class t: ce -> -CE(f, t), cw -> f_t - f_y, dlr -> (f_t - f_y) / (f_(1) - (f_(3) + f_(4)) / 2). An
image is broken by a point where the largest logit is not that of its label, whatever the loss was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from cgro.attacks.ball import Budget, inside, project, random_start, steepest
from cgro.attacks.pgd import Objective, gradient_of, pgd
from cgro.data.batches import Images
from cgro.errors import UserError
from cgro.randomness import Stream, at, torch_generator

LossName = Literal["ce", "cw", "dlr", "kl"]
BOX = (0.0, 1.0)


@dataclass(frozen=True)
class Attack:
    """PGD on images: `restarts` >= 1 runs of `steps` >= 0 steps from uniform random starts in the ball.

    `relative_step` > 0 is the length of a step as a fraction of the radius; with `decay` of the first one. FGSM is one
    step of relative length 1 from the image itself (`start` False).

    Raises: UserError for an unknown loss, or numbers outside of these ranges.
    """

    budget: Budget
    steps: int
    relative_step: float
    decay: bool = False
    restarts: int = 1
    loss: LossName = "ce"
    start: bool = True

    def __post_init__(self) -> None:
        if self.loss not in get_args(LossName):
            raise UserError(f"loss is {self.loss!r}: allowed are {', '.join(get_args(LossName))}; choose one of them")
        if self.steps < 0 or self.restarts < 1 or not self.relative_step > 0:
            raise UserError(
                f"attack of {self.steps} steps of {self.relative_step:g} radii with {self.restarts} restarts: need "
                "steps >= 0, steps of positive length and restarts >= 1"
            )

    def ascend(
        self, objective: Objective, x: Tensor, start: torch.Generator | Tensor | None = None, *, check: bool = True
    ) -> Tensor:
        """Perturbed images of one run, shape of `x`: pixels in [0, 1], within the budget.

        `objective` takes the place of `loss`; `start` draws random starts, or is them. `check` that pixels are in
        [0, 1], for which the device must be waited for.
        """
        return pgd(
            objective,
            x,
            self.budget,
            steps=self.steps,
            step_size=self.relative_step * self.budget.radius,
            decay=self.decay,
            clamp=BOX,
            start=start if self.start else None,
            check=check,
        )

    def weaker(self, share: float) -> Attack:
        """The same with a radius of that share of its own."""
        return replace(self, budget=replace(self.budget, radius=self.budget.radius * share))


def fgsm(budget: Budget) -> Attack:
    """One step of the length of the radius from the image itself (Goodfellow et al., ICLR 2015)."""
    return Attack(budget, 1, 1.0, start=False)


def evaluation_attack(budget: Budget, steps: int = 10, restarts: int = 2) -> Attack:
    """The attack that robust accuracy is reported under.

    Steps begin at the radius and shrink: on digits 10 of them, twice, come within about two points of
    100 steps with 5 restarts.
    """
    return Attack(budget, steps, relative_step=1.0, decay=True, restarts=restarts)


class Goal:
    """What an attack wants of each image: a large loss; `broken` tells where the last points called reached an error.

    targets: class to reach for each image (B,); None: any but the label.
    """

    def __init__(
        self, model: nn.Module, x: Tensor, y: Tensor, loss: LossName = "ce", targets: Tensor | None = None
    ) -> None:
        self.model, self.x, self.y, self.loss, self.targets = model, x, y, loss, targets
        self.broken = torch.zeros(len(y), dtype=torch.bool, device=y.device)
        self.clean = None
        if loss == "kl":
            with torch.no_grad():
                self.clean = log_softmax(model(x), dim=1)

    def __call__(self, z: Tensor) -> Tensor:
        """Losses (B,) at the points."""
        logits = self.model(z)
        self.broken = logits.detach().argmax(1) != self.y
        return self.value(logits)

    def value(self, logits: Tensor) -> Tensor:
        """The loss (B,) of logits (B, C)."""
        y, targets = self.y, self.targets
        if self.clean is not None:
            return kl_div(log_softmax(logits, dim=1), self.clean, reduction="none", log_target=True).sum(1)
        if self.loss == "ce":
            return cross_entropy(logits, y, reduction="none") if targets is None else -cross_entropy(
                logits, targets, reduction="none"
            )  # fmt: skip
        own = logits.gather(1, y[:, None])[:, 0]
        if targets is None:
            rest = logits.scatter(1, y[:, None], -torch.inf)
            gain = rest.amax(1) - own
        else:
            gain = logits.gather(1, targets[:, None])[:, 0] - own
        if self.loss == "cw":
            return gain
        classes, least = logits.shape[1], 3 if targets is None else 4
        if classes < least:
            raise UserError(f"loss dlr with {classes} classes: it needs {least} or more; use cw")
        top = logits.topk(least, dim=1).values
        scale = top[:, 0] - (top[:, 2] if targets is None else (top[:, 2] + top[:, 3]) / 2)
        return gain / (scale + 1e-12)

    def select(self, kept: Tensor) -> Goal:
        """The goal for these images alone."""
        part = object.__new__(Goal)
        part.model, part.loss = self.model, self.loss
        part.x, part.y, part.broken = self.x[kept], self.y[kept], self.broken[kept]
        part.targets = None if self.targets is None else self.targets[kept]
        part.clean = None if self.clean is None else self.clean[kept]
        return part


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside: batch norms use their running statistics, and do not change them.

    Weights are frozen, so that gradients of the input are not followed by those of the weights.
    """
    training, free = model.training, [p for p in model.parameters() if p.requires_grad]
    model.eval()
    for p in free:
        p.requires_grad_(False)
    try:
        yield
    finally:
        model.train(training)
        for p in free:
            p.requires_grad_(True)


Search = Callable[[Goal, Budget, "torch.Generator | None"], Tensor]
"""Points (B, *shape) for a goal, one for each image, at which as many as possible are broken."""


def pgd_search(attack: Attack) -> Search:
    """PGD that leaves an image as soon as it is broken; the rest of the batch goes on without it."""

    def search(goal: Goal, budget: Budget, generator: torch.Generator | None) -> Tensor:
        points = goal.x.clone()
        x, left = goal.x, torch.arange(len(goal.y), device=goal.y.device)
        delta = torch.zeros_like(x)
        if attack.start and generator is not None:
            delta = project(random_start(x, budget, generator), x, budget, BOX)
        for step in range(attack.steps + 1):
            points[left] = x + delta
            if step == attack.steps or not len(left):
                break
            gradient = gradient_of(goal, points[left])
            size = attack.relative_step * budget.radius * (1 - step / attack.steps if attack.decay else 1)
            direction = steepest(gradient, budget.norm, points[left], BOX)
            delta = project(delta + size * direction, x, budget, BOX)
            kept = (~goal.broken).nonzero()[:, 0]
            if len(kept) < len(left):
                goal, x, delta, left = goal.select(kept), x[kept], delta[kept], left[kept]
        return points

    return search


@torch.no_grad()
def correct(
    model: nn.Module,
    data: Images,
    attack: Attack | None = None,
    stream: Stream | None = None,
    *,
    batch_size: int = 512,
    tick: Callable[[int], object] = lambda _done: None,
) -> Tensor:
    """Which images are classified correctly, bool (N,): clean, and under every restart of `attack`.

    Restarts attack only the images that are still correct; in l_1, where a random start costs many steps, the first is
    at the images. What counts is the class of the points found, moved into the ball exactly and classified again in
    evaluation mode. `stream` seeds the random starts of every batch by its number; None starts at the images. `tick` is
    told how many images are done.
    """
    found = []
    with evaluating(model):
        for number, (x, y) in enumerate(data.batches(torch.arange(len(data)), batch_size)):
            right = model(x).argmax(1) == y
            if attack is not None:
                for restart in range(attack.restarts):
                    generator = None
                    if stream is not None and (restart or attack.budget.norm != "1"):
                        generator = torch_generator(at(stream, number, restart), x.device)
                    left = right.nonzero()[:, 0]
                    if len(left):
                        goal = Goal(model, x[left], y[left], attack.loss)
                        attacked(goal, pgd_search(attack), attack.budget, generator)
                        right[left] = ~goal.broken
            found.append(right)
            tick(len(y))
    return torch.cat(found)


def attacked(goal: Goal, search: Search, budget: Budget, generator: torch.Generator | None) -> Tensor:
    """Losses (B,) at the points that a search finds, moved into the ball exactly; `goal.broken` tells which err."""
    return goal(inside(search(goal, budget, generator), goal.x, budget, BOX))


def accuracy(mask: Tensor) -> float:
    """Fraction of True."""
    return float(mask.double().mean())
