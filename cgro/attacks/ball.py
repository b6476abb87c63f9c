"""The perturbations that an adversary may add: a norm ball, intersected with the box of valid inputs if there is one.

For l_1 the ball and the box are handled together, as an adversary that ignores the box wastes its budget there (Croce
& Hein, "Mind the box: l_1-APGD for sparse adversarial attacks on image classifiers", ICML 2021). Axes: the leading
`batch_dims` of a tensor are batch, norms are taken over all the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cgro.base.errors import UserError
from cgro.base.norms import Norm, require_norm
from cgro.base.validate import real

Box = tuple[float, float]
"""(low, high) of valid coordinates; (0, 1) for images."""


@dataclass(frozen=True)
class Budget:
    """The perturbations allowed to the adversary: a norm and a radius > 0 in input units.

        >>> import cgro
        >>> cgro.Budget("inf", 8 / 255).norm
        'inf'

    Raises: UserError for an unknown norm, or a radius that is not finite and positive.
    """

    norm: Norm
    radius: float

    def __post_init__(self) -> None:
        require_norm(self.norm)
        real("radius", self.radius)
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise UserError(f"radius must be finite and greater than 0, in input units, got {self.radius}")


@dataclass(frozen=True)
class Budgets:
    """A norm, and a radius > 0 of its own for each point, float64 (*batch, 1, ..., 1) with as many dims as the points.

    The functions below take them wherever they take a budget; attacks on many networks at once need them.
    """

    norm: Norm
    radius: Tensor

    @classmethod
    def of(cls, budgets: Sequence[Budget], counts: Sequence[int], ndim: int, device: torch.device) -> Budgets:
        """The budgets of runs of `counts[k]` points one after another; points have `ndim` dims, one of them batch.

        Raises: UserError for several norms.
        """
        norms = sorted({budget.norm for budget in budgets})
        if len(norms) > 1:
            raise UserError(f"norm must be the same in all networks, got {', '.join(norms)}")
        radii = torch.tensor([budget.radius for budget in budgets], dtype=torch.float64)
        radii = radii.repeat_interleave(torch.tensor(counts))
        return cls(budgets[0].norm, radii.reshape(-1, *[1] * (ndim - 1)).to(device))


def radius_like(budget: Budget | Budgets, x: Tensor) -> float | Tensor:
    """The radius in the precision of `x`."""
    return budget.radius.to(x.dtype) if isinstance(budget.radius, Tensor) else budget.radius


def norm_of(delta: Tensor, norm: Norm, batch_dims: int = 1) -> Tensor:
    """Norm over the non-batch dims, which are kept with length 1."""
    order = {"1": 1.0, "2": 2.0, "inf": math.inf}[norm]
    return torch.linalg.vector_norm(delta, order, tuple(range(batch_dims, delta.ndim)), keepdim=True)


def perturbation_size(z: Tensor, x: Tensor, norm: Norm, batch_dims: int = 1) -> Tensor:
    """Norm of z - x over all but the leading `batch_dims` dims, measured in float64; shape (*batch,)."""
    return norm_of(z.double() - x.double(), norm, batch_dims).reshape(x.shape[:batch_dims])


def steepest(
    gradient: Tensor, norm: Norm, z: Tensor, box: Box | None, batch_dims: int = 1, *, share: float | Tensor = 0.05
) -> Tensor:
    """Direction of norm 1 from `z` along which a linear function grows fast; 0 where the gradient is 0.

    Fastest for l_inf (signs) and l_2 (the gradient). The fastest in l_1 moves one coordinate alone; here the largest
    `share` of the coordinates (one number, or one for each point) and those as large move by the same amount, as in
    SLIDE (Tramer & Boneh, 2019), of those that the box lets move.
    """
    if norm == "inf":
        return gradient.sign()
    if norm == "1":
        if box is not None:
            stuck = torch.where(gradient > 0, z > box[1] - 1e-6, z < box[0] + 1e-6)
            gradient = gradient.masked_fill(stuck, 0.0)
        flat = gradient.flatten(batch_dims)
        sizes = flat.abs()
        shares = torch.as_tensor(share, device=flat.device).expand(flat.shape[:-1])[..., None]
        last = ((shares * flat.shape[-1]).round().long() - 1).clamp_min(0)
        chosen = (sizes >= sizes.sort(dim=-1, descending=True).values.gather(-1, last)) & (sizes > 0)
        signs = flat.sign() * chosen
        return (signs / chosen.sum(-1, keepdim=True).clamp_min(1)).reshape(gradient.shape)
    # Dividing by the largest entry first keeps the squares of tiny gradients from underflowing to 0.
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / norm_of(gradient, "inf", batch_dims).clamp_min(tiny)
    return gradient / norm_of(gradient, "2", batch_dims).clamp_min(tiny)


def project(delta: Tensor, x: Tensor, budget: Budget | Budgets, box: Box | None, batch_dims: int = 1) -> Tensor:
    """Perturbation in the ball and, with a box, with x + delta in the box.

    l_inf and l_1: the nearest such point. l_2: onto the ball, then onto the box, which stays in the ball as x is in
    the box.
    """
    radius = radius_like(budget, x)
    if budget.norm == "1":
        return _project_l1(delta, x, radius, box, batch_dims)
    if budget.norm == "inf":
        delta = delta.clamp(-radius, radius)  # type: ignore[arg-type]
    else:
        # One part in 10^12 inside, so that the radius holds in whatever order the squares are summed.
        radius = radius * (1 - 1e-12)
        size = norm_of(delta, "2", batch_dims)
        delta = torch.where(size > radius, delta * (radius / size), delta)
    return delta if box is None else (x + delta).clamp(*box) - x


def limits(x: Tensor, budget: Budget | Budgets, box: Box | None) -> tuple[Tensor, Tensor] | None:
    """Smallest and largest reachable coordinates, which describe the whole set in l_inf."""
    if budget.norm != "inf":
        return None
    radius = radius_like(budget, x)
    low, high = x - radius, x + radius
    return (low, high) if box is None else (low.clamp_min(box[0]), high.clamp_max(box[1]))


def moved(
    z: Tensor,
    step: Tensor,
    x: Tensor,
    budget: Budget | Budgets,
    box: Box | None,
    within: tuple[Tensor, Tensor] | None,
    batch_dims: int = 1,
) -> Tensor:
    """z + step, back in the ball and in the box; `within` are the `limits`, computed once for many steps."""
    if within is not None:
        return torch.clamp(z + step, *within)
    return x + project(z + step - x, x, budget, box, batch_dims)


def _project_l1(delta: Tensor, x: Tensor, radius: float | Tensor, box: Box | None, batch_dims: int) -> Tensor:
    """Nearest point of {|d|_1 <= radius, low <= x + d <= high}: d = sign(v) min(max(|v| - t, 0), room).

    t >= 0 is the smallest threshold with |d|_1 <= radius. |d|_1 is linear in t between the break points |v_i| and
    |v_i| - room_i: at each of them its slope changes by +-1, so sorting finds t exactly.
    """
    v = delta.flatten(batch_dims)
    radius = radius.flatten(batch_dims) if isinstance(radius, Tensor) else radius
    size, sign = v.abs(), v.sign()
    room = torch.full_like(v, math.inf)
    if box is not None:
        flat = x.flatten(batch_dims)
        room = torch.where(sign > 0, box[1] - flat, flat - box[0]).clamp_min(0)
    radius = radius * (1 - (1e-12 if v.dtype == torch.float64 else 1e-6))
    full = torch.minimum(size, room)
    # From t = 0 upwards a coordinate begins to shrink at |v_i| - room_i, and has shrunk to 0 at |v_i|.
    points = torch.cat([(size - room).clamp_min(0), size], dim=-1)
    turns = torch.cat([-torch.ones_like(v), torch.ones_like(v)], dim=-1)
    points, order = points.sort(dim=-1)
    slopes = turns.gather(-1, order).cumsum(-1)
    gaps = points.diff(dim=-1)
    # |d|_1 at every break point, beginning with all of it up to the first.
    heights = full.sum(-1, keepdim=True) + torch.cat(
        [torch.zeros_like(points[..., :1]), (slopes[..., :-1] * gaps).cumsum(-1)], dim=-1
    )
    last = ((heights > radius).sum(-1, keepdim=True) - 1).clamp_min(0)
    height, slope = heights.gather(-1, last), slopes.gather(-1, last)
    beyond = torch.where(slope < 0, (height - radius) / -slope, torch.zeros_like(height))
    threshold = torch.where(heights[..., :1] > radius, points.gather(-1, last) + beyond, torch.zeros_like(beyond))
    shrunk = torch.minimum((size - threshold).clamp_min(0), room)
    return (sign * shrunk).reshape(delta.shape)


def require_generator(generator: torch.Generator | None, x: Tensor) -> None:
    """Refuse a generator on another device. Raises: UserError."""
    if generator is not None and generator.device.type != x.device.type:
        raise UserError(
            f"generator must be on {x.device}, like the images, got {generator.device}: use "
            f"torch.Generator('{x.device.type}')"
        )


def random_start(x: Tensor, budget: Budget | Budgets, generator: torch.Generator, batch_dims: int = 1) -> Tensor:
    """Perturbations drawn uniformly in the ball, whatever the box."""
    if budget.norm == "inf":
        unit = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (2 * unit - 1) * radius_like(budget, x)
    draw = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    shape = x.shape[:batch_dims] + (1,) * (x.ndim - batch_dims)
    unit = torch.rand(shape, generator=generator, dtype=x.dtype, device=x.device)
    if budget.norm == "1":
        # Exponential variables divided by their sum are uniform on the simplex; signs are random.
        sizes = -torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device).clamp_min(1e-30).log()
        draw = draw.sign() * sizes
    dimension = math.prod(x.shape[batch_dims:])
    return draw / norm_of(draw, budget.norm, batch_dims) * unit ** (1 / dimension) * radius_like(budget, x)


def inside(z: Tensor, x: Tensor, budget: Budget | Budgets, box: Box | None, batch_dims: int = 1) -> Tensor:
    """`z` moved into the ball exactly: |z - x| <= radius when it is measured in float64, for float32 inputs too.

    The last rounding goes towards `x`.
    """
    delta = project((z - x).double(), x.double(), budget, box, batch_dims)
    rounded = (x.double() + delta).to(x.dtype)
    too_far = (rounded.double() - x.double()).abs() > delta.abs()
    rounded = torch.where(too_far, torch.nextafter(rounded, x), rounded)
    return rounded if box is None else rounded.clamp(*box)
