"""How stable the gradient of a training loss is: its norm, and how fast it changes along the direction of descent.

    g(theta) = grad_theta of the mean loss at the images that the attack finds for the weights theta
    distance(t) = |g(theta - t d) - g(theta)|_2
    cosine(t)   = <g(theta - t d), g(theta)> / (|g(theta - t d)| |g(theta)|)

with d = g(theta) / |g(theta)|_2. The attack is repeated at theta - t d, from the same random starts, since training
would repeat it. If the loss has a gradient that is K-Lipschitz in theta and K'-Lipschitz in x, then distance(t) <=
K t + 2 eps K' (`proofs_check/adversarial_training/gradient_bound.py`): it need not vanish as t does. Source: Dong et
al., ICLR 2022, arXiv:2106.01606, gradient magnitude [S] and stability [R].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor, nn

from cgro.attacks.ball import random_start
from cgro.attacks.images import Attack
from cgro.attacks.modes import evaluating, require_gradients
from cgro.base.errors import UserError
from cgro.base.randomness import Stream, torch_generator
from cgro.training.objectives import Objective
from cgro.training.observers import Batch, Weighted


def gradient_norm(model: nn.Module) -> Tensor:
    """l_2 norm of the gradient that the model's parameters hold, over all of them; 0 if none do."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norms = torch._foreach_norm(gradients) if gradients else [torch.zeros(())]
    return torch.linalg.vector_norm(torch.stack(list(norms)))


def along_descent(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    objective: Objective,
    attack: Attack | None,
    distances: Sequence[float],
    *,
    stream: Stream,
) -> xr.Dataset:
    """Distance and cosine of the gradient at each of `distances` along the direction of descent, over (t).

    Args:
        model: classifies images (N, C, S, S); measured in evaluation mode, its weights are unchanged afterwards.
        x, y: images in [0, 1] and labels (N,), processed at once.
        objective: whose mean loss is differentiated.
        attack: finds the images at every theta; None for objectives without one.
        distances: t >= 0, in units of the weights.
        stream: draws the random starts of the attack, the same ones for every t.

    Returns: `distance` and `cosine` over t, and `norm` = |g(theta)|_2. They are NaN where a gradient is 0 and has no
        direction, or is not finite.

    Raises: UserError for distances that are negative or none, and in inference mode.
    """
    if not len(distances) or not all(t >= 0 for t in distances):
        raise UserError(f"distances must be one or more, each at least 0, got {list(distances)}")
    require_gradients()
    parameters = [p for p in model.parameters() if p.requires_grad]
    start = torch.zeros_like(x)
    if attack is not None and attack.start:
        start = random_start(x, attack.budget, torch_generator(stream, x.device))
    before = [p.detach().clone() for p in parameters]

    def gradient() -> Tensor:
        batch = Batch(x, y, torch.arange(len(x), device=x.device))
        z = x
        if attack is not None and objective.attacks:
            with evaluating(model):
                z = attack.ascend(objective.ascent(model, batch), x, start)
        losses = objective.losses(model, batch, z)
        if isinstance(losses, Weighted):
            losses = losses.losses * losses.weights / losses.weights.mean()
        return torch.cat([g.flatten() for g in torch.autograd.grad(losses.mean(), parameters)]).double()

    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        here = gradient()
        norm = torch.linalg.vector_norm(here)
        rows = []
        for t in distances:
            _move(parameters, before, -t * here / norm)
            there = gradient()
            cosine = (there @ here) / (torch.linalg.vector_norm(there) * norm)
            rows.append((float(torch.linalg.vector_norm(there - here)), float(cosine)))
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, before, strict=True):
                p.copy_(value)
        for module, mode in training:
            module.training = mode
    distance, cosines = zip(*rows, strict=True)
    return xr.Dataset(
        {
            "distance": ("t", list(distance), {"long_name": "Distance of the gradients", "units": "nat / weight unit"}),
            "cosine": ("t", list(cosines), {"long_name": "Cosine of the gradients", "units": "1"}),
            "norm": ((), float(norm), {"long_name": "Norm of the gradient", "units": "nat / weight unit"}),
        },
        {"t": ("t", [float(t) for t in distances], {"long_name": "Distance of the weights", "units": "weight unit"})},
    )


@torch.no_grad()
def _move(parameters: Sequence[Tensor], before: Sequence[Tensor], step: Tensor) -> None:
    """Set the parameters to `before` + step, a flat vector."""
    parts = step.split([p.numel() for p in parameters])
    for p, value, part in zip(parameters, before, parts, strict=True):
        p.copy_(value + part.view_as(value).to(value.dtype))
