"""Attacks on image classifiers: PGD with restarts under a named loss, and the images that withstand it.

Losses of the logits f, to be made large:

    ce     cross-entropy
    cw     max_{k != y} f_k - f_y, the margin of Carlini & Wagner (2017), without their confidence
    dlr    (max_{k != y} f_k - f_y) / (f_(1) - f_(3)), f_(1) >= f_(2) >= ... (Croce & Hein, ICML 2020); scale-free
    kl     KL(softmax f(x) || softmax f(z)), the ascent of TRADES

and targeted at a class t: ce -> -CE(f, t), cw -> f_t - f_y, dlr -> (f_t - f_y) / (f_(1) - (f_(3) + f_(4)) / 2). An
image is broken by a point where the largest logit is not that of its label, whatever the loss was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, softplus

from cgro.attacks.arguments import (
    answer,
    require_fits,
    require_images,
    require_labels,
    require_logits,
    require_pixels,
    right,
)
from cgro.attacks.ball import Budget, inside, limits, moved, project, random_start, steepest
from cgro.attacks.gradient_masking import Aim, look, margins
from cgro.attacks.modes import judging
from cgro.attacks.pgd import Objective, Watch, gradient_at, pgd, step_sizes
from cgro.base.errors import UserError
from cgro.base.randomness import Stream, at, torch_generator
from cgro.base.validate import above, integer, one_of
from cgro.data.batches import Images

LossName = Literal["ce", "cw", "dlr", "kl"]
BOX = (0.0, 1.0)
_ROUNDED, _CERTAIN = 12.0, 40.0
"""Margins in nats at which the form of the cross-entropy changes, see `_unsaturated`."""


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
        one_of("loss", self.loss, get_args(LossName))
        integer("steps", self.steps, low=0)
        integer("restarts", self.restarts, low=1)
        above("relative_step", self.relative_step, 0)

    def ascend(
        self,
        objective: Objective,
        x: Tensor,
        start: torch.Generator | Tensor | None = None,
        *,
        check: bool = True,
        watch: Watch | None = None,
    ) -> Tensor:
        """Perturbed images of one run, shape of `x`: pixels in [0, 1], within the budget.

        `objective` takes the place of `loss`; `start` draws random starts, or is them. `check` that pixels are in
        [0, 1], for which the device must be waited for. `watch` is told the points and gradients of every step.

        Raises: UserError for images of another type or out of range, and a radius larger than the box.
        """
        require_pixels(x, values=check)
        require_fits(self.budget, x.shape[1:])
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
            watch=watch,
        )

    def weaker(self, share: float) -> Attack:
        """The same with a radius of that share of its own."""
        return replace(self, budget=replace(self.budget, radius=self.budget.radius * share))


def evaluation_attack(budget: Budget, steps: int = 10, restarts: int = 2) -> Attack:
    """The attack that robust accuracy is reported under.

    Steps begin at the radius and shrink: on digits 10 of them, twice, come within about two points of
    100 steps with 5 restarts.
    """
    return Attack(budget, steps, relative_step=1.0, decay=True, restarts=restarts)


class Judged(NamedTuple):
    """A goal evaluated at points."""

    loss: Tensor
    """(B,), larger is better for the attack."""
    broken: Tensor
    """Where the network errs, bool (B,); an answer that is not finite is an error."""


class Goal:
    """The goal of an attack: a large loss on each image.

    targets: class to reach for each image (B,); None: any but the label.

    Raises: UserError for images, labels, a loss or an output that it cannot be.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        x: Tensor,
        y: Tensor,
        loss: LossName = "ce",
        targets: Tensor | None = None,
    ) -> None:
        require_pixels(x)
        one_of("loss", loss, get_args(LossName))
        self.model, self.x, self.y, self.loss = model, x, require_labels(y, len(x)), loss
        self.targets = None if targets is None else require_labels(targets, len(x))
        self.clean = None
        self._known = False
        if loss == "kl":
            with torch.no_grad():
                self.clean = log_softmax(self._logits(x), dim=1)

    def __call__(self, z: Tensor) -> Tensor:
        """Losses (B,) at the points."""
        return self.value(self._logits(z))

    def judge(self, z: Tensor) -> Judged:
        """Losses at the points, and where they are errors."""
        logits = self._logits(z)
        return Judged(self.value(logits), ~right(logits.detach(), self.y))

    def climb(self, z: Tensor) -> tuple[Judged, Tensor]:
        """The same, and the gradient of each loss with respect to its own point."""
        with torch.enable_grad():
            z = z.detach().requires_grad_(True)
            judged = self.judge(z)
        return Judged(judged.loss.detach(), judged.broken), gradient_at(judged.loss, z)

    def _logits(self, z: Tensor) -> Tensor:
        if self._known:
            logits = require_logits(self.model(z), len(z))
        else:
            logits = answer(self.model, z)
            for labels in (self.y, self.targets):
                if labels is not None:
                    require_labels(labels, len(z), logits.shape[1])
            self._known = True
        return logits

    def value(self, logits: Tensor) -> Tensor:
        """The loss (B,) of logits (B, K)."""
        y, targets = self.y, self.targets
        if self.clean is not None:
            return divergence(self.clean, log_softmax(logits, dim=1))
        if self.loss == "ce":
            return _unsaturated(logits, y) if targets is None else -cross_entropy(logits, targets, reduction="none")
        if targets is None:
            gain = -margins(logits, y)
        else:
            gain = (logits.gather(1, targets[:, None]) - logits.gather(1, y[:, None]))[:, 0]
        if self.loss == "cw":
            return gain
        classes, least = logits.shape[1], 3 if targets is None else 4
        if classes < least:
            raise UserError(f"loss must be cw for fewer than {least} classes, got dlr with {classes}")
        top = logits.topk(least, dim=1).values
        scale = top[:, 0] - (top[:, 2] if targets is None else (top[:, 2] + top[:, 3]) / 2)
        return gain / (scale + 1e-12)

    def select(self, kept: Tensor) -> Goal:
        """The goal for these images alone."""
        part = object.__new__(Goal)
        part.model, part.loss, part._known = self.model, self.loss, self._known
        part.x, part.y = self.x[kept], self.y[kept]
        part.targets = None if self.targets is None else self.targets[kept]
        part.clean = None if self.clean is None else self.clean[kept]
        return part

    def seen_by(self, aim: Aim) -> Goal:
        """The same for what a search sees of the network."""
        x = self.x if aim.dtype is None else self.x.to(aim.dtype)
        return self if aim.network is self.model else Goal(aim.network, x, self.y, self.loss, self.targets)


def _unsaturated(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy (B,), precise also where the label is almost certain, and straight where it has no doubt left.

        CE = softplus(-m),   m = f_y - log sum_{k != y} exp f_k

    From m = 12 on float32 loses 1 - p_y to rounding, and gradients with it, and from 100 on everything; so there it is
    computed by m, and from m = 40 on by its tangent, which only grows further. Below 12 it is the usual one.
    """
    plain = cross_entropy(logits, y, reduction="none")
    own = logits.gather(1, y[:, None])[:, 0]
    m = own - logits.scatter(1, y[:, None], -torch.inf).logsumexp(1)
    tangent = math.exp(-_CERTAIN) * (1 + _CERTAIN - m)
    return torch.where(m < _ROUNDED, plain, torch.where(m < _CERTAIN, softplus(-m), tangent))


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) (B,) of log-probabilities (B, C), in nats; no logarithm of 0 arises."""
    return (p.exp() * (p - q)).sum(dim=1)


Search = Callable[[Goal, Budget, "torch.Generator | None"], Tensor]
"""Points (B, *shape) for a goal, one for each image, at which as many as possible are broken."""


def starts(budget: Budget, stream: Stream, device: torch.device, *, first: bool) -> torch.Generator | None:
    """What draws the random starts of a search; None in the `first` one in l_1, where a random start costs many steps
    and the search begins at the images."""
    return None if first and budget.norm == "1" else torch_generator(stream, device)


def pgd_search(attack: Attack) -> Search:
    """PGD that leaves an image as soon as it is broken; the rest of the batch goes on without it."""

    def search(goal: Goal, budget: Budget, generator: torch.Generator | None) -> Tensor:
        return _until_broken(attack, goal, budget, generator)[0]

    return search


def _until_broken(
    attack: Attack, goal: Goal, budget: Budget, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Points at which images were left, and after how many steps (B,); those after the last step are not judged."""
    x, left = goal.x, torch.arange(len(goal.y), device=goal.y.device)
    z = x
    if attack.start and generator is not None:
        z = x + project(random_start(x, budget, generator), x, budget, BOX)
    points, taken = z.clone(), torch.full_like(left, attack.steps)
    within = limits(x, budget, BOX)
    for step, size in enumerate(step_sizes(attack.steps, attack.relative_step * budget.radius, decay=attack.decay)):
        judged, gradient = goal.climb(z)
        kept = (~judged.broken).nonzero()[:, 0]
        if len(kept) < len(left):
            taken[left[judged.broken]] = step
            goal, x, z, left, gradient = goal.select(kept), x[kept], z[kept], left[kept], gradient[kept]
            if not len(left):
                break
            within = limits(x, budget, BOX)
        z = moved(z, size * steepest(gradient, budget.norm, z, BOX), x, budget, BOX, within)
        points[left] = z
    return points, taken


@torch.no_grad()
def steps_to_error(
    model: nn.Module, x: Tensor, y: Tensor, attack: Attack, generator: torch.Generator | None = None
) -> Tensor:
    """After how many steps of PGD the network first errs on each image, int64 (B,).

    0 for an error where the search starts, `attack.steps + 1` for an image on which it finds none. The search starts at
    the image, or at a random point if there is a generator and the attack has random starts; it makes a single run.

    Args: x: images (B, C, H, W) in [0, 1]; y: labels (B,).

    Raises: UserError for a network, images, labels or a radius that do not go together.
    """
    data = require_images(Images(x, y, 1), model, attack.budget, max(1, len(x)))
    with judging(model):
        goal = Goal(model, x, data.labels, attack.loss)
        aim = look(model, data, max(1, len(x))).aim(model)
        points, taken = _until_broken(attack, goal.seen_by(aim), attack.budget, generator)
        broken = goal.judge(inside(points, x, attack.budget, BOX)).broken
    return torch.where(broken | (taken < attack.steps), taken, attack.steps + 1)


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
    evaluation mode and full float32. An answer that is not finite is an error. `stream` seeds the random starts of
    every batch by its number; None starts at the images. `tick` is told how many images are done.

    Raises: UserError for a network, images, labels, a radius or a batch size that do not go together.
    Warns: AccuracyWarning where outputs are not finite, or gradients vanish.
    """
    data = require_images(data, model, None if attack is None else attack.budget, batch_size)
    with judging(model):
        clean = look(model, data, batch_size, gradients=attack is not None)
        clean.warn()
        if attack is None:
            tick(len(data))
            return clean.right
        found, aim = clean.right.clone(), clean.aim(model)
        for number, indices in enumerate(torch.arange(len(data), device=found.device).split(batch_size)):
            for restart in range(attack.restarts):
                left = indices[found[indices]]
                if not len(left):
                    break
                generator = None
                if stream is not None:
                    drawn = at(stream, number, restart)
                    generator = starts(attack.budget, drawn, left.device, first=restart == 0)
                x, y = next(data.batches(left, len(left)))
                goal = Goal(model, x, y, attack.loss)
                found[left] = ~attacked(goal, pgd_search(attack), attack.budget, generator, aim).broken
            tick(len(indices))
    return found


def attacked(goal: Goal, search: Search, budget: Budget, generator: torch.Generator | None, aim: Aim) -> Judged:
    """What the goal says of the points that a search finds, moved into the ball exactly.

    The search sees the network as `aim`; what it finds is judged by the network itself.
    """
    return goal.judge(inside(search(goal.seen_by(aim), budget, generator), goal.x, budget, BOX))


def accuracy(mask: Tensor) -> float:
    """Fraction of True."""
    return float(mask.double().mean())
