"""Adversarial weight perturbation (AWP): the gradient is taken at weights perturbed to increase the loss.

    v_l = gamma |w_l| g_l / |g_l| for each weight l of two or more dimensions, g = gradient of the mean loss at w;
    w <- w - eta (gradient at w + v)

gamma is 5e-3 for PGD-AT and TRADES on CIFAR-10. Source: Wu, Xia & Wang, "Adversarial weight perturbation helps robust
generalization", NeurIPS 2020, one ascent step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def perturbed_weights(model: nn.Module, gamma: float) -> Iterator[None]:
    """The weights are w + v inside, from the gradients that the model holds, and bit-identical to w afterwards."""
    moved = [(p, p.detach().clone()) for p in model.parameters() if p.ndim > 1 and p.grad is not None]
    with torch.no_grad():
        for p, _ in moved:
            assert p.grad is not None
            p.add_(p.grad * (gamma * p.norm() / (p.grad.norm() + 1e-12)))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, before in moved:
                p.copy_(before)


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """Restore the running statistics of batch norm on exit."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
