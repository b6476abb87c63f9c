"""How networks are optimized: the options that `TrainingConfig` and `Recipe` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cgro.training.choices import AttackMode, AttackStart, Averaging, Precision
from cgro.training.schedules import ScheduleName

STACKABLE: dict[str, Any] = {
    "micro_batch": None,
    "attack_start": "uniform",
    "weight_perturbation": 0.0,
    "averaging": "none",
    "precision": "float32",
    "compile": False,
}
"""The values of these options that many networks trained at once must have."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """SGD with momentum: batches, schedules of the learning rate and the radius, and averages of the weights."""

    epochs: int = 40
    """Passes over the training images, 1 or more."""

    batch_size: int = 32
    """Images per batch, 1 or more."""

    micro_batch: int | None = None
    """Images processed at once in training and evaluation, at least 1; gradients are accumulated. None: a whole batch.

    With batch norm the result differs slightly from the gradient of the batch: each piece has its own statistics.
    """

    schedule: ScheduleName = "cyclic"
    """Learning-rate schedule: cyclic (up for a fifth, then down), piecewise (divided by 10 at each drop), cosine or
    constant."""

    drops: tuple[int, ...] = ()
    """Epochs after which schedule piecewise divides the rate by 10, increasing; by default 1/2 and 3/4 of all."""

    learning_rate: float = 0.05
    """Peak learning rate of SGD, above 0."""

    momentum: float = 0.9
    """Momentum of SGD, at least 0 and below 1."""

    weight_decay: float = 0.0
    """Weight decay, 0 or more; 0.0005 is usual for CIFAR-10."""

    radius_warmup: float = 0.4
    """Fraction of training over which the radius rises to its full value, 0 to 1."""

    attack_mode: AttackMode = "evaluation"
    """Batch norm during the attack: evaluation (running statistics) or training (batch statistics)."""

    attack_start: AttackStart = "uniform"
    """Starting point of the attack: uniform in the ball, or normal: the image plus 0.001 N(0, 1), as in TRADES and
    MART."""

    weight_perturbation: float = 0.0
    """Size gamma of adversarial weight perturbation (AWP), 0 or more; 0.005 in the paper, 0 turns it off."""

    averaging: Averaging = "none"
    """Evaluate averaged weights: ema (decay 0.999 per update, less at first) or swa (mean over the last epochs)."""

    precision: Precision = "float32"
    """Precision of the forward and backward passes; weights stay float32."""

    compile: bool = False
    """Compile the network with torch.compile. For GPUs only: it takes minutes at the start, and CPUs were slower."""
