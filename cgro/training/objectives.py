"""What adversarial training minimizes, as losses of single samples: the mean over a batch is taken by the loop.

    standard     CE(f(x), y)
    PGD-AT       CE(f(z), y),                                     z = argmax CE(f(z), y) in the ball
    TRADES       CE(f(x), y) + beta KL(f(x) || f(z)),             z = argmax KL(f(x) || f(z))
    MART         BCE(f(z), y) + beta KL(f(x) || f(z)) (1 - p_y(x)),   z as in PGD-AT,
                 BCE(f(z), y) = -log p_y(z) - log(1 - max_{k != y} p_k(z))

KL(f(x) || f(z)) compares the softmax p of both. Targets are labels (B,) or, for cross-entropy, probabilities (B, C),
so that each sample may have a target of its own; weights of samples multiply what is returned. Samples are attacked
in evaluation mode, the update sees training mode. Sources: Madry et al., ICLR 2018; Zhang et al. (TRADES), ICML 2019;
Wang et al. (MART), ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax

Perturb = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""(loss of each point, clean points) -> points of the ball with a large loss."""
Objective = Callable[[nn.Module, Tensor, Tensor, Perturb], Tensor]
"""(model, images (B, C, S, S), targets, attack) -> losses (B,), in nats."""


def standard(model: nn.Module, x: Tensor, y: Tensor, perturb: Perturb) -> Tensor:
    """Cross-entropy of clean images."""
    return cross_entropy(model(x), y, reduction="none")


def adversarial(model: nn.Module, x: Tensor, y: Tensor, perturb: Perturb) -> Tensor:
    """PGD-AT: cross-entropy of the perturbed images."""
    with evaluating(model):
        z = perturb(lambda z: cross_entropy(model(z), y, reduction="none"), x)
    return cross_entropy(model(z), y, reduction="none")


def trades(beta: float = 6.0) -> Objective:
    """TRADES with its weight beta of the boundary term; 6 in the paper.

    The attack must start away from x, at random: at x the divergence is 0 and has no gradient.
    """

    def objective(model: nn.Module, x: Tensor, y: Tensor, perturb: Perturb) -> Tensor:
        with evaluating(model):
            with torch.no_grad():
                clean = log_softmax(model(x), dim=1)
            z = perturb(lambda z: divergence(clean, log_softmax(model(z), dim=1)), x)
        logits = model(x)
        boundary = divergence(log_softmax(logits, dim=1), log_softmax(model(z), dim=1))
        return cross_entropy(logits, y, reduction="none") + beta * boundary

    return objective


def mart(beta: float = 5.0) -> Objective:
    """MART with its weight beta of the consistency term; 5 in the paper. Labels only."""

    def objective(model: nn.Module, x: Tensor, y: Tensor, perturb: Perturb) -> Tensor:
        with evaluating(model):
            z = perturb(lambda z: cross_entropy(model(z), y, reduction="none"), x)
        clean, attacked = (log_softmax(model(points), dim=1) for points in (x, z))
        own = y[:, None]
        # log(1 - p_k) by the sum of the other probabilities, which stays exact as p_k nears 1.
        wrong = attacked.scatter(1, own, -torch.inf).argmax(dim=1, keepdim=True)
        others = attacked.scatter(1, wrong, -torch.inf).logsumexp(dim=1)
        boosted = -attacked.gather(1, own)[:, 0] - others
        return boosted + beta * divergence(clean, attacked) * (1 - clean.gather(1, own)[:, 0].exp())

    return objective


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) (B,) of log-probabilities (B, C), in nats; no logarithm of 0 arises."""
    return (p.exp() * (p - q)).sum(dim=1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside: batch norms use their running statistics, and do not change them."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
