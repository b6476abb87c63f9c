"""Teachers of the patch model: a margin on each kind of sample, and the target that it sets.

A student of adversarial distillation is trained on l_tau(z) = -tau log s(z) - (1 - tau) log s(-z), with z its margin
y f(X), s(z) = 1/(1 + e^-z) and tau = s(margin of the teacher); tau = 1 is training on the label. The slope is
-(s(-z) - (1 - tau)): a target only shifts it. Source: Lee & Chung, ICML 2026, arXiv:2605.21999 [N].
"""

from __future__ import annotations

import math

from cgro.base.errors import UserError


def target(margin: float | None) -> float:
    """tau = s(margin), the probability that a teacher gives the label; 1 for training on the label (None)."""
    return 1.0 if margin is None else 0.5 + 0.5 * math.tanh(margin / 2)


def entropy(tau: float) -> float:
    """Entropy of a target in nats, 0 to log 2 [N]: the measure of a teacher on unlearnable samples."""
    return -sum(p * math.log(p) for p in (tau, 1 - tau) if p > 0)


def require_both_kinds(name: str, probability: float, samples: int) -> None:
    """Refuse a probability of unlearnable samples that leaves less than half a sample of either kind, unless 0 or 1.

    Raises: UserError.
    """
    least = min(p for p in (probability, 1 - probability, 1) if p > 0)
    if least * samples < 0.5:
        raise UserError(f"{name} must leave samples of both kinds, or be 0 or 1, got {probability:g} of {samples}")
