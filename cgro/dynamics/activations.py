"""Activations of the patch network, sgn(z)|z|^q and max(z, 0)^q, and their slopes, for numpy and torch alike.

Both engines also take your own function phi, from float64 torch tensors to tensors of the same shape, value by value.
All output weights are then +1, as with "odd", and the exponent is ignored; theory that needs it refuses such settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from cgro.base.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

ActivationName = Literal["odd", "relu"]
Activation = ActivationName | Callable[[Any], Any]


def activation(z: Any, exponent: float, kind: Activation) -> Any:
    """phi(z), for numpy arrays and torch tensors of any shape: sgn(z)|z|^q ("odd") or max(z, 0)^q ("relu")."""
    if callable(kind):
        return kind(z)
    if kind == "odd":
        return z * abs(z) ** (exponent - 1)
    return ((z + abs(z)) / 2) ** exponent


def slope(z: Any, exponent: float, kind: Activation) -> Any:
    """phi'(z) / q: |z|^(q-1) ("odd") or max(z, 0)^(q-1) ("relu"); phi'(z) of your own function."""
    if callable(kind):
        return derivative(z, kind)
    base = abs(z) if kind == "odd" else (z + abs(z)) / 2
    return base ** (exponent - 1)


def factor(exponent: float, kind: Activation) -> float:
    """What `slope` is to be multiplied by to give phi': q, or 1 for your own function."""
    return 1.0 if callable(kind) else exponent


def derivative(z: Tensor, phi: Callable[[Any], Any]) -> Tensor:
    """phi'(z) by autograd, for a function that acts value by value."""
    import torch  # settings are made without torch

    x = z.detach().requires_grad_(True)
    (found,) = torch.autograd.grad(phi(x).sum(), x)
    return found


def require_function(phi: Callable[[Any], Any]) -> None:
    """Try your own function on a few numbers, before any training.

    Raises: UserError if it fails, changes shape or type, mixes values, or has no derivative.
    """
    import torch

    z = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64, requires_grad=True)
    try:
        value = phi(z)
    except Exception as error:
        raise UserError(
            "activation must be a function of float64 torch tensors, value by value; on (-2, ..., 2) it fails: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(value, torch.Tensor) or value.shape != z.shape or value.dtype != z.dtype:
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise UserError(f"activation must return a tensor of the type and shape of its argument, got {got}")
    if not torch.equal(phi(z[:4]), value[:4]):
        raise UserError("activation must act value by value: the value at one number depends on the others")
    if not value.requires_grad:
        raise UserError("activation must be differentiable by torch: its value does not depend on its argument")
