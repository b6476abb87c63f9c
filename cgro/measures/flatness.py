"""How flat the loss is around images: its largest rise and gradient inside a ball, against the radius of the ball.

    rise(delta)      = max L(f(x + xi), y) - L(f(x), y)       over |xi|_inf <= delta
    steepness(delta) = max |grad_x L(f(x + xi), y)|_1

Projected gradient ascent searches both maxima, so the values are lower bounds; keeping the best point found so far
makes them non-decreasing in the radius. The l_1 norm of the gradient is dual to l_inf: to first order, the rise is
delta |grad_x L|_1. Source: Li & Li, ICML 2025, arXiv:2306.01271, the loss landscapes of the experiments [S]; theory of
flatness [N].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from cgro.attacks.arguments import answer, require_fits, require_labels, require_model, require_pixels
from cgro.attacks.ball import Budget
from cgro.attacks.modes import judging, require_gradients
from cgro.attacks.pgd import pgd
from cgro.base.errors import UserError
from cgro.base.validate import integer

Score = Callable[[Tensor], Tensor]
"""Points (B, *shape) -> values (B,) to maximize."""


def flatness(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    radii: Sequence[float],
    *,
    steps: int = 20,
    generator: torch.Generator | None = None,
) -> xr.Dataset:
    """Rise (nats) and steepness (nats per pixel value) of each image at each radius, over (radius, sample).

    Args:
        model: takes pixels in [0, 1]; measured in evaluation mode and full float32.
        x, y: images (B, C, S, S) in [0, 1] and labels (B,).
        radii: increasing l_inf radii from 0 to 1, in pixel values.
        steps: steps of each search, >= 0.
        generator: draws random starts, on the device of x; None: searches start at x.

    Raises: UserError for radii that are out of range or do not increase, images outside [0, 1], invalid labels or
        logits, and inference mode.
    """
    radii = [float(r) for r in radii]
    if not radii or not radii[0] >= 0 or not all(a < b for a, b in pairwise(radii)):
        raise UserError(f"radii must be one or more, at least 0 and increasing, got {radii}")
    integer("steps", steps, low=0)
    require_gradients()
    require_pixels(x)
    require_model(model, x)
    y = require_labels(y, len(x))
    if radii[-1] > 0:
        require_fits(Budget("inf", radii[-1]), x.shape[1:])
    with judging(model):
        require_labels(y, len(x), answer(model, x).shape[1])
        rows = _maxima(model, x, y, radii, steps, generator)
    dims = ("radius", "sample")
    return xr.Dataset(
        {
            "rise": (
                dims,
                torch.stack(rows["rise"]).cpu().numpy(),
                {"long_name": "Largest rise of the loss found", "units": "nat"},
            ),
            "steepness": (
                dims,
                torch.stack(rows["steepness"]).cpu().numpy(),
                {"long_name": "Largest l_1 norm of the input gradient found", "units": "nat"},
            ),
        },
        {"radius": ("radius", radii, {"long_name": "l_inf radius", "units": "pixel value"})},
    )


def _maxima(
    model: nn.Module, x: Tensor, y: Tensor, radii: Sequence[float], steps: int, generator: torch.Generator | None
) -> dict[str, list[Tensor]]:
    """The largest rise and steepness (B,) found inside each radius."""

    def loss(z: Tensor) -> Tensor:
        return cross_entropy(model(z), y, reduction="none")

    def steepness(z: Tensor) -> Tensor:
        """|grad_x L|_1, differentiable."""
        points = z if z.requires_grad else z.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(points).sum(), points, create_graph=True)
        return gradient.abs().flatten(1).sum(1)

    before = loss(x).detach()
    rows: dict[str, list[Tensor]] = {"rise": [], "steepness": []}
    best = {"rise": torch.zeros_like(before), "steepness": steepness(x).detach()}
    for radius in radii:
        for name, score, offset in (("rise", loss, before), ("steepness", steepness, 0 * before)):
            if radius > 0:
                # Step sizes begin at the radius and shrink, as in the evaluation attack.
                z = pgd(
                    score, x, Budget("inf", radius), steps=steps, step_size=radius, decay=True, clamp=(0.0, 1.0),
                    start=generator,
                )  # fmt: skip
                best[name] = torch.maximum(best[name], score(z).detach() - offset)
            rows[name].append(best[name])
    return rows
