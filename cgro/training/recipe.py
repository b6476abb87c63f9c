"""The input of the training loop: optimization options with an objective, an attack and an augmentation."""

from __future__ import annotations

from dataclasses import dataclass, field

from cgro.attacks.calls import AttackCall
from cgro.attacks.images import Attack
from cgro.data.batches import Augmentation
from cgro.training.objectives import Adversarial, Objective
from cgro.training.observers import Observer
from cgro.training.optimization import Optimization
from cgro.training.schedules import factor


@dataclass(frozen=True, kw_only=True)
class Recipe(Optimization):
    """How to train: optimization options, the objective, and what perturbs the images.

    The learning rate is `learning_rate` times the factor of `schedule` (`schedules.py`). The radius rises linearly to
    that of `attack` over the fraction `radius_warmup` of the updates: at full radius from the start, some networks
    collapse to a single class on images larger than digits.

    Batches are processed in pieces of `micro_batch` images. Their gradients add up to the gradient of the batch unless
    batch norm takes the statistics of each piece. With `compile` all pieces have one shape, since every new shape would
    be compiled again: a smaller piece, e.g. of an epoch's last batch, is padded with its own images at weight 0. This
    leaves its gradients unchanged, but batch norm sees those images several times.

    `ema` decays by 0.999 per update, and by (1 + t) / (10 + t) at update t if that is less; `swa` averages the weights
    at the ends of the epochs after `averaging_start`. Both also average the running statistics of batch norm, which
    come from perturbed images. In `attack_mode` training, batch norm uses batch statistics during the attack, and every
    step of the attack updates its running statistics.
    """

    attack: Attack | None
    """None trains on clean images."""
    objective: Objective = field(default_factory=Adversarial)
    augmentation: Augmentation = field(default_factory=Augmentation)
    replays: int = 1
    """More than 1: free training."""
    label_smoothing: float = 0.0
    """s in [0, 1): targets (1 - s) one-hot + s / classes."""
    averaging_start: float | None = None
    """Epoch after which `swa` begins, at least 0; None: 3/4 of all."""
    search: AttackCall | None = None
    """Finds the perturbed images within the budget of `attack`; None: PGD."""
    observers: tuple[Observer, ...] = ()
    """Called at every update, besides an objective that is an observer."""

    def attack_at(self, progress: float) -> Attack | None:
        """The attack of an update at `progress` in (0, 1] through the training."""
        if self.attack is None or progress >= self.radius_warmup:
            return self.attack
        return self.attack.weaker(progress / self.radius_warmup)

    def rate_at(self, progress: float) -> float:
        """The learning rate of an update at `progress` in (0, 1) through the training."""
        drops = [drop / self.epochs for drop in self.drops] or (0.5, 0.75)
        return self.learning_rate * factor(self.schedule, progress, drops)
