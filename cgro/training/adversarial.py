"""Adversarial training of image classifiers, and the accuracies that it is judged by.

min over weights of E max over |z - x| <= radius of cross_entropy(model(z), y), the inner maximum by PGD.
Reference: Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.pgd import Budget, pgd
from cgro.experiment import UserError

STREAMS = ("subset", "weights", "order", "attack", "evaluation")
"""Independent sources of randomness of one run. Append to them only: a stream is known by its position."""


@dataclass(frozen=True)
class Attack:
    """PGD on images: `restarts` >= 1 runs of `steps` >= 0 steps from uniform random starts in the ball.

    `relative_step` > 0 is the length of a step as a fraction of the radius; with `decay` of the first one.
    """

    budget: Budget
    steps: int
    relative_step: float
    decay: bool = False
    restarts: int = 1

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator | None) -> Tensor:
        """Perturbed images of one run, shape of `x`: pixels in [0, 1], within the budget."""
        return pgd(
            lambda z: cross_entropy(model(z), y, reduction="none"),
            x,
            self.budget,
            steps=self.steps,
            step_size=self.relative_step * self.budget.radius,
            decay=self.decay,
            clamp=(0.0, 1.0),
            random_start=generator,
        )


def evaluation_attack(budget: Budget, steps: int = 10, restarts: int = 2) -> Attack:
    """The attack that robust accuracy is reported under.

    Steps begin at the radius and shrink: on digits 10 of them, twice, come within about two points of
    100 steps with 5 restarts.
    """
    return Attack(budget, steps, relative_step=1.0, decay=True, restarts=restarts)


@dataclass(frozen=True)
class Recipe:
    """How to train: SGD with Nesterov momentum on the images perturbed by `attack`, or on clean ones.

    The learning rate rises linearly from 0 to `learning_rate` > 0 over the first fifth of the updates, then
    falls linearly to 0. The radius rises linearly, too, to that of `attack` over the fraction `ramp` in [0, 1] of
    the updates: from the full radius at once, larger images than digits leave the network at a constant answer.
    Epochs and batch size are >= 1; weight decay is >= 0.
    """

    attack: Attack | None
    """None trains on clean images."""
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    ramp: float = 0.4

    def attack_at(self, progress: float) -> Attack | None:
        """The attack of an update at `progress` in (0, 1] through the training."""
        if self.attack is None:
            return None
        budget = self.attack.budget
        if progress >= self.ramp:
            return self.attack
        return replace(self.attack, budget=replace(budget, radius=budget.radius * progress / self.ramp))


@dataclass(frozen=True)
class Images:
    """Images on a device as uint8 (N, C, S, S), where `white` is pixel 1.0, and their labels int64 (N,)."""

    pixels: Tensor
    labels: Tensor
    white: int

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of `size` or fewer in the given order: float32 pixels in [0, 1], labels."""
        for indices in order.to(self.labels.device).split(size):
            yield self.pixels[indices].float() / self.white, self.labels[indices]


def spawn_streams(seed: int) -> dict[str, np.random.SeedSequence]:
    """One independent seed for each name in `STREAMS`."""
    return dict(zip(STREAMS, np.random.SeedSequence(seed).spawn(len(STREAMS)), strict=True))


def torch_generator(seed: np.random.SeedSequence, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))


@contextmanager
def single_thread() -> Iterator[None]:
    """Computes on one CPU core inside, so that bits do not depend on how many there are.

    Small networks lose nothing by it, and gain much where other work is running; cells run side by side instead.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(
    model: nn.Module,
    data: Images,
    recipe: Recipe,
    *,
    streams: dict[str, np.random.SeedSequence],
    after_epoch: Callable[[int, float], None],
) -> None:
    """Train `model` in place; `after_epoch(epoch, mean training loss)` follows each epoch 1..epochs.

    The loss is that of the perturbed images just before each update, in nats.

    Raises: UserError when a loss is not finite.
    """
    device = data.labels.device
    order = torch_generator(streams["order"])
    attack = torch_generator(streams["attack"], device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0,
    )
    updates = recipe.epochs * math.ceil(len(data.labels) / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: triangle((t + 1) / (updates + 1)))
    update = 0
    for epoch in range(1, recipe.epochs + 1):
        total = torch.zeros((), device=device)
        permutation = torch.randperm(len(data.labels), generator=order)
        for x, y in data.batches(permutation, recipe.batch_size):
            update += 1
            now = recipe.attack_at(update / updates)
            loss = cross_entropy(model(now.perturb(model, x, y, attack) if now else x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(y)
        mean_loss = float(total) / len(data.labels)
        if not math.isfinite(mean_loss):
            raise UserError(
                f"training diverged in epoch {epoch}: the loss is {mean_loss}; "
                f"lower the learning rate (it is {recipe.learning_rate:g})"
            )
        after_epoch(epoch, mean_loss)


def triangle(progress: float, peak: float = 0.2) -> float:
    """Learning-rate factor in [0, 1]: 0 at progress 0, 1 at `peak`, 0 at progress 1, linear in between."""
    return progress / peak if progress < peak else (1 - progress) / (1 - peak)


@torch.no_grad()
def correct(
    model: nn.Module,
    data: Images,
    attack: Attack | None = None,
    generator: torch.Generator | None = None,
    *,
    batch_size: int = 1024,
) -> Tensor:
    """Which images are classified correctly, bool (N,): clean, or under every restart of `attack`.

    Restarts attack only the images that are still correct; correctness is that of the returned points.
    Without an attack the clean images are classified; an attacked image must be correct clean, too.
    """
    found = []
    for x, y in data.batches(torch.arange(len(data.labels)), batch_size):
        right = model(x).argmax(1) == y
        for _ in range(attack.restarts if attack else 0):
            left = right.nonzero()[:, 0]
            if attack and len(left):
                z = attack.perturb(model, x[left], y[left], generator)
                right[left] = model(z).argmax(1) == y[left]
        found.append(right)
    return torch.cat(found)


def accuracy(mask: Tensor) -> float:
    """Fraction of True."""
    return float(mask.double().mean())
