"""Validation for attacks and measures: models, images, labels, budgets and logits, once for each call.

NaN never passes: comparisons with NaN are False, so the code tests that a value is in range, never that it is outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cgro.attacks.ball import Budget
from cgro.base.errors import UserError
from cgro.base.machine import is_out_of_memory
from cgro.base.norms import cube_diameter
from cgro.base.validate import integer
from cgro.data.batches import Images


def require_model(model: nn.Module, x: Tensor) -> None:
    """Refuse anything but a module on the device of the images. Raises: UserError."""
    if not isinstance(model, nn.Module):
        raise UserError(f"model must be a torch.nn.Module that returns logits, got {type(model).__name__}; wrap it")
    weight = next(model.parameters(), None)
    if weight is not None and weight.device.type != x.device.type:
        raise UserError(f"model and images must be on one device, got {weight.device} and {x.device}: move one of them")


def require_images(data: Images, model: nn.Module, budget: Budget | None, batch_size: int) -> Images:
    """The images, with labels as int64, if model, budget and batch size go with them. Raises: UserError."""
    integer("batch_size", batch_size, low=1)
    if not isinstance(data, Images):
        raise UserError(f"images must be cgro.data.batches.Images, got {type(data).__name__}")
    integer("white", data.white, low=1)
    require_model(model, data.pixels)
    if budget is not None:
        require_fits(budget, data.pixels.shape[1:])
    return Images(data.pixels, require_labels(data.labels, len(data)), data.white)


def require_pixels(x: Tensor, *, values: bool = True) -> None:
    """Refuse all but float tensors (B, ...) in [0, 1]; without `values` a GPU need not be waited for.

    Raises: UserError.
    """
    if not isinstance(x, Tensor) or x.dtype not in (torch.float32, torch.float64) or x.ndim < 2:
        what = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise UserError(f"images must be a float32 or float64 tensor (B, ...), got {what}; convert them")
    if values and not bool(((x >= 0) & (x <= 1)).all()):
        raise UserError(
            f"images must lie in [0, 1], got values from {float(x.min()):g} to {float(x.max()):g}: scale them"
        )


def require_labels(y: Tensor, count: int, classes: int | None = None) -> Tensor:
    """Labels as int64, whole numbers (count,) from 0 to below `classes`. Raises: UserError."""
    if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        what = str(y.dtype) if isinstance(y, Tensor) else type(y).__name__
        raise UserError(f"labels must be a tensor of integers, got {what}; convert them")
    if y.shape != (count,):
        raise UserError(f"labels must have shape ({count},), one for each image, got {tuple(y.shape)}")
    if classes is not None and len(y):
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= classes:
            raise UserError(
                f"labels must be 0 to {classes - 1} for {classes} logits, got {low} to {high}: renumber them or use "
                "another network"
            )
    return y.long()


def answer(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The logits of a model on its first images.

    Raises: UserError for a model that fails on them, as one of another type or for another size does.
    """
    try:
        logits = model(x)
    except (RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, UserError) or is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"model fails on {x.dtype} images of shape {tuple(x.shape)}: {reason}") from error
    return require_logits(logits, len(x))


def require_logits(logits: Tensor, count: int) -> Tensor:
    """The output of a network, if it is (count, K) with K >= 2 real numbers. Raises: UserError."""
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        what = str(logits.dtype) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"model must return a tensor of real logits, got {what}")
    if logits.ndim != 2 or len(logits) != count or logits.shape[1] < 2:
        single = logits.numel() == count
        raise UserError(
            f"model must return shape ({count}, K) with K >= 2 logits for {count} images, got {tuple(logits.shape)}"
            + (": for two classes return (-f, f)" if single else "")
        )
    return logits


def require_fits(budget: Budget, shape: Sequence[int]) -> None:
    """Refuse a radius larger than any perturbation of images of that shape (without batch) in [0, 1].

    Raises: UserError.
    """
    dimension = math.prod(shape)
    largest = cube_diameter(budget.norm, dimension)
    if budget.radius > largest:
        raise UserError(
            f"radius must be at most {largest:g} in l_{budget.norm}, got {budget.radius:g}: no two images of "
            f"{dimension:,} pixels in [0, 1] are farther apart; use these units, e.g. 8/255 in l_inf"
        )


def right(logits: Tensor, y: Tensor) -> Tensor:
    """Where the largest logit is that of the label and all logits are finite, bool (B,)."""
    return (logits.argmax(1) == y) & finite_rows(logits)


def finite_rows(logits: Tensor) -> Tensor:
    """Where all logits are numbers, and none is infinite: bool (B,)."""
    return logits.isfinite().all(1)
