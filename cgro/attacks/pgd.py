"""Projected gradient ascent inside an l_1, l_2 or l_inf ball: one attack for images and for theory inputs.

Images live in [0, 1] and are clamped to it; points of the theory are raw coordinates and are never clamped.
Reference: Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial
attacks", ICLR 2018, section 2.1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cgro.attacks.ball import (
    Box,
    Budget,
    Budgets,
    inside,
    limits,
    moved,
    project,
    random_start,
    require_generator,
    steepest,
)
from cgro.attacks.modes import require_gradients

Objective = Callable[[Tensor], Tensor]
"""Points (*batch, *shape) -> the loss of each point (*batch,), to be made large by the attack."""
Watch = Callable[[Tensor, Tensor], object]
"""Called with points and gradients, both (*batch, *shape)."""


def pgd(
    objective: Objective,
    x: Tensor,
    budget: Budget | Budgets,
    *,
    steps: int,
    step_size: float | Tensor,
    decay: bool = False,
    clamp: Box | None = None,
    start: torch.Generator | Tensor | None = None,
    batch_dims: int = 1,
    check: bool = True,
    watch: Watch | None = None,
) -> Tensor:
    """Points near `x` with a large objective, found by projected gradient ascent; the last iterate.

        z <- P(z + a s(grad objective(z))),  s = sign (l_inf), g / |g|_2 (l_2), signs of the largest (l_1),
        P = projection on the ball

    Args:
        objective: differentiable losses (*batch,) of points (*batch, *shape); samples must not interact.
        x: centres (*batch, *shape), float32 or float64, on any device that has float64.
        steps: gradient steps, >= 0.
        step_size: length a > 0 of a step, in input units and in the norm of the budget; or one for each point, of as
            many dims as `x`.
        decay: let a fall linearly, from `step_size` in the first step to `step_size / steps` in the last.
            Starting with a = radius this finds in 20 steps what constant steps find in 100.
        clamp: (low, high) of valid inputs, (0, 1) for images; None leaves coordinates alone.
        start: draws perturbations uniformly in the ball to start from (on the device of `x`), or these perturbations;
            None starts at `x`.
        batch_dims: how many leading dims of `x` are batch; the norm is taken over all the others.
        check: that `x` is in the box; a GPU must be waited for to see it.
        watch: told the points and the gradients of their losses in every step.

    Returns: points like `x`, detached. Each lies in the ball exactly: |z - x| <= radius when it is measured
    in float64, for float32 inputs too, because the final rounding goes towards `x`.

    Raises: ValueError for arguments outside of these ranges; UserError in inference mode.
    """
    if steps < 0 or (not isinstance(step_size, Tensor) and not step_size > 0):
        raise ValueError(f"steps must be at least 0 and step_size greater than 0, got {steps} and {step_size}")
    if not 1 <= batch_dims < x.ndim:
        raise ValueError(f"batch_dims must be from 1 to {x.ndim - 1} for x of {x.ndim} dims, got {batch_dims}")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x must be float32 or float64, got {x.dtype}: convert it")
    if check and clamp is not None and not bool(((x >= clamp[0]) & (x <= clamp[1])).all()):
        raise ValueError(f"x must lie in [{clamp[0]}, {clamp[1]}]: scale it, or pass clamp=None")
    if check and clamp is None and not bool(x.isfinite().all()):
        raise ValueError("x must be finite, got NaN or infinite values")
    x = x.detach()
    if isinstance(start, torch.Generator):
        require_generator(start, x)
        start = random_start(x, budget, start, batch_dims)
    if start is not None and start.shape != x.shape:
        raise ValueError(f"start must have the shape of x, {tuple(x.shape)}, got {tuple(start.shape)}")
    z = x if start is None else x + project(start, x, budget, clamp, batch_dims)
    within = limits(x, budget, clamp)
    for size in step_sizes(steps, step_size, decay=decay):
        gradient = gradient_of(objective, z, batch_dims)
        if watch is not None:
            watch(z, gradient)
        direction = steepest(gradient, budget.norm, z, clamp, batch_dims)
        z = moved(z, size * direction, x, budget, clamp, within, batch_dims)
    return inside(z, x, budget, clamp, batch_dims)


def step_sizes(steps: int, first: float | Tensor, *, decay: bool) -> list[float | Tensor]:
    """Lengths of the steps: all as the first, or falling linearly to a `steps`-th of it."""
    return [first * (1 - step / steps) if decay else first for step in range(steps)]


def gradient_of(objective: Objective, z: Tensor, batch_dims: int = 1) -> Tensor:
    """Gradient of each loss with respect to its own point; 0 where it is no number, or where there is none.

    So a point stays in its ball whatever the network returns. Raises: ValueError unless there is one loss for each;
    UserError in inference mode.
    """
    require_gradients()
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        return gradient_at(objective(z), z, batch_dims)


def gradient_at(losses: Tensor, z: Tensor, batch_dims: int = 1) -> Tensor:
    """The same of losses that were computed of `z`, a leaf that requires gradients."""
    with torch.enable_grad():
        if losses.shape != z.shape[:batch_dims]:
            raise ValueError(
                f"objective must return one loss for each point, shape {tuple(z.shape[:batch_dims])}, got "
                f"{tuple(losses.shape)}: use reduction='none'"
            )
        if not losses.requires_grad:  # a network of thresholds
            return torch.zeros_like(z)
        # Samples do not interact, so the gradient of the sum holds the gradient of each loss.
        (gradient,) = torch.autograd.grad(losses.sum(), z, allow_unused=True)
    return torch.zeros_like(z) if gradient is None else torch.nan_to_num(gradient)
