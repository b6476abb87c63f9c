"""Gradient descent: bit for bit the updates of torch, here by its function, which is independent of ours."""

from __future__ import annotations

import math

import pytest
import torch
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from cgro.training.descent import Adam, Descent

SHAPES = [(3, 4), (5,), (2, 2, 3)]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 5e-4])
def test_updates_are_those_of_torch(momentum: float, decay: float) -> None:
    """Also where a parameter has no gradient at first, and where the rate changes."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]
    theirs = [parameter.detach().clone() for parameter in ours]
    buffers: list[torch.Tensor | None] = [None] * len(SHAPES)
    descent = Descent(ours, rate=1.0, momentum=momentum, weight_decay=decay)
    for step in range(6):
        descent.zero_grad()
        assert all(parameter.grad is None for parameter in ours)
        descent.rate = 0.1 / (1 + step)
        moving = [k for k in range(len(SHAPES)) if k < 2 or step > 2]
        for k in moving:
            ours[k].grad = torch.randn(SHAPES[k], generator=generator)
        gradients = [ours[k].grad.clone() for k in moving]
        descent.step()
        own = [buffers[k] for k in moving]
        sgd(
            [theirs[k] for k in moving], gradients, own, foreach=False, weight_decay=decay, momentum=momentum,
            lr=descent.rate, dampening=0, nesterov=False, maximize=False,
        )  # fmt: skip
        for k, buffer in zip(moving, own, strict=True):
            buffers[k] = buffer
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert len(descent.momenta) == (len(SHAPES) if momentum else 0)


def test_nothing_moves_without_gradients() -> None:
    weight = torch.ones(2, requires_grad=True)
    Descent([weight], rate=1.0, momentum=0.9, weight_decay=0.1).step()
    assert torch.equal(weight, torch.ones(2))


@pytest.mark.parametrize("shape", [(3,), (4, 5, 6)])
def test_adam_takes_the_steps_of_torch_bit_for_bit(shape: tuple[int, ...]) -> None:
    """By the function of `torch.optim.Adam`, over all steps of a cosine schedule, on the gradients of a quartic."""
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = start.clone().requires_grad_(True), start.clone()
    steps, optimizer = 37, Adam([ours], rate=0.03, steps=37)
    mean, square, count = torch.zeros(shape), torch.zeros(shape), torch.zeros(())
    for k in range(steps):
        assert optimizer.rate == pytest.approx(0.015 * (1 + math.cos(math.pi * k / steps)), rel=1e-12)
        optimizer.zero_grad()
        ((ours - 0.5) ** 4 + ours).sum().backward()
        assert ours.grad is not None
        adam(
            [theirs], [ours.grad.clone()], [mean], [square], [], [count], foreach=False, amsgrad=False, beta1=0.9,
            beta2=0.999, lr=optimizer.rate, weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip
        optimizer.step()
        assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, start)
