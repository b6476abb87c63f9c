"""Activations of the patch network, sgn(z)|z|^q and max(z, 0)^q, and their slopes, for numpy and torch alike.

The direct engine also takes your own function phi, from torch tensors to torch tensors of the same shape. All output
weights are then +1, as with "odd", and the exponent is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

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
    """phi'(z) / q: |z|^(q-1) ("odd") or max(z, 0)^(q-1) ("relu")."""
    base = abs(z) if kind == "odd" else (z + abs(z)) / 2
    return base ** (exponent - 1)
