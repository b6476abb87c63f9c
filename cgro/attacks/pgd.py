"""Projected gradient ascent inside an l_inf or l_2 ball: one attack for images and for theory inputs.

Images live in [0, 1] and are clamped to it; points of the theory are raw coordinates and are never clamped.
Reference: Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial
attacks", ICLR 2018, section 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from cgro.experiment import UserError

Norm = Literal["inf", "2"]
Objective = Callable[[Tensor], Tensor]
"""Points (*batch, *shape) -> the loss of each point (*batch,), to be made large by the attack."""


@dataclass(frozen=True)
class Budget:
    """The perturbations allowed to the adversary: a norm and a radius > 0 in input units.

    Raises: UserError for an unknown norm, or a radius that is not finite and positive.
    """

    norm: Norm
    radius: float

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise UserError(f"norm is {self.norm!r}: allowed are 'inf' and '2'; choose one of them")
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise UserError(f"radius is {self.radius}: it must be finite and > 0; give it in input units")


def pgd(
    objective: Objective,
    x: Tensor,
    budget: Budget,
    *,
    steps: int,
    step_size: float,
    decay: bool = False,
    clamp: tuple[float, float] | None = None,
    random_start: torch.Generator | None = None,
    batch_dims: int = 1,
) -> Tensor:
    """Points near `x` with a large objective, found by projected gradient ascent; the last iterate.

        z <- P(z + a s(grad objective(z))),  s = sign (l_inf) or g / |g|_2 (l_2),  P = projection on the ball

    Args:
        objective: differentiable losses (*batch,) of points (*batch, *shape); samples must not interact.
        x: centres (*batch, *shape), float32 or float64, on any device that has float64.
        steps: gradient steps, >= 0.
        step_size: length a > 0 of a step, in input units and in the norm of the budget.
        decay: let a fall linearly, from `step_size` in the first step to `step_size / steps` in the last.
            Starting with a = radius this finds in 20 steps what constant steps find in 100.
        clamp: (low, high) of valid inputs, (0, 1) for images; None leaves coordinates alone.
        random_start: draws a start uniformly in the ball; None starts at `x`. On the device of `x`.
        batch_dims: how many leading dims of `x` are batch; the norm is taken over all the others.

    Returns: points like `x`, detached. Each lies in the ball exactly: |z - x| <= radius when it is measured
    in float64, for float32 inputs too, because the final rounding goes towards `x`.

    Raises: ValueError for arguments outside of these ranges.
    """
    if steps < 0 or not step_size > 0:
        raise ValueError(f"steps is {steps} and step_size is {step_size}: need steps >= 0 and step_size > 0")
    if not 1 <= batch_dims < x.ndim:
        raise ValueError(f"batch_dims is {batch_dims}, x has {x.ndim} dims: need 1 <= batch_dims < x.ndim")
    if clamp is not None and bool(((x < clamp[0]) | (x > clamp[1])).any()):
        raise ValueError(f"x leaves [{clamp[0]}, {clamp[1]}]: scale it into the box, or pass clamp=None")
    x = x.detach()
    delta = torch.zeros_like(x)
    if random_start is not None:
        delta = _uniform_in_ball(x, budget, random_start, batch_dims)
    z = _clamped(x + delta, clamp)
    for step in range(steps):
        direction = _steepest(_gradient(objective, z, batch_dims), budget, batch_dims)
        size = step_size * (1 - step / steps) if decay else step_size
        z = _clamped(x + _project(z + size * direction - x, budget, batch_dims), clamp)
    return _clamped(_round_towards(x, _project((z - x).double(), budget, batch_dims)), clamp)


def perturbation_size(z: Tensor, x: Tensor, norm: Norm, batch_dims: int = 1) -> Tensor:
    """Norm of z - x over all but the leading `batch_dims` dims, measured in float64; shape (*batch,)."""
    return _norm(z.double() - x.double(), norm, batch_dims).reshape(x.shape[:batch_dims])


def _gradient(objective: Objective, z: Tensor, batch_dims: int) -> Tensor:
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        losses = objective(z)
        if losses.shape != z.shape[:batch_dims]:
            raise ValueError(
                f"objective returned shape {tuple(losses.shape)}, need one loss for each point: "
                f"{tuple(z.shape[:batch_dims])}; use reduction='none'"
            )
        # Samples do not interact, so the gradient of the sum holds the gradient of each loss.
        (gradient,) = torch.autograd.grad(losses.sum(), z)
    return gradient


def _norm(delta: Tensor, norm: Norm, batch_dims: int) -> Tensor:
    """Norm over the non-batch dims, which are kept with length 1."""
    dims = tuple(range(batch_dims, delta.ndim))
    return torch.linalg.vector_norm(delta, math.inf if norm == "inf" else 2, dims, keepdim=True)


def _steepest(gradient: Tensor, budget: Budget, batch_dims: int) -> Tensor:
    """Direction of norm 1 along which a linear function grows fastest; 0 where the gradient is 0."""
    if budget.norm == "inf":
        return gradient.sign()
    # Dividing by the largest entry first keeps the squares of tiny gradients from underflowing to 0.
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / _norm(gradient, "inf", batch_dims).clamp_min(tiny)
    return gradient / _norm(gradient, "2", batch_dims).clamp_min(tiny)


def _project(delta: Tensor, budget: Budget, batch_dims: int) -> Tensor:
    if budget.norm == "inf":
        return delta.clamp(-budget.radius, budget.radius)
    # One part in 10^12 inside, so that the radius holds in whatever order the squares are summed.
    radius = budget.radius * (1 - 1e-12)
    size = _norm(delta, "2", batch_dims)
    return torch.where(size > radius, delta * (radius / size), delta)


def _uniform_in_ball(x: Tensor, budget: Budget, generator: torch.Generator, batch_dims: int) -> Tensor:
    if budget.norm == "inf":
        unit = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (2 * unit - 1) * budget.radius
    direction = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    shape = x.shape[:batch_dims] + (1,) * (x.ndim - batch_dims)
    unit = torch.rand(shape, generator=generator, dtype=x.dtype, device=x.device)
    dimension = math.prod(x.shape[batch_dims:])
    return direction / _norm(direction, "2", batch_dims) * unit ** (1 / dimension) * budget.radius


def _round_towards(x: Tensor, delta: Tensor) -> Tensor:
    """x + delta in the precision of `x`, each coordinate rounded so that it is no farther than delta."""
    z = (x.double() + delta).to(x.dtype)
    too_far = (z.double() - x.double()).abs() > delta.abs()
    return torch.where(too_far, torch.nextafter(z, x), z)


def _clamped(z: Tensor, clamp: tuple[float, float] | None) -> Tensor:
    return z if clamp is None else z.clamp(*clamp)
