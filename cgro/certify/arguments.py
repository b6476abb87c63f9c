"""Validation of the arguments of the certifier: points, labels and radii."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float64

from cgro.base.arrays import as_array, real_array
from cgro.base.errors import UserError
from cgro.base.validate import real


def checked_points(points: Any, inputs: int) -> Float64[np.ndarray, "N D"]:
    """Centres (N, D) of a network with D inputs, finite and in C order. Raises: UserError."""
    found = np.ascontiguousarray(real_array("points", points))
    if found.ndim != 2 or found.shape[1] != inputs or not inputs:
        raise UserError(f"points must have shape (N, {inputs}), one row of network inputs each, got {found.shape}")
    if not np.isfinite(found).all():
        bad = int(np.flatnonzero(~np.isfinite(found).all(axis=1))[0])
        raise UserError(f"points must be finite, got a NaN or infinite coordinate in point {bad}: remove or repair it")
    return found


def checked_count(labels: Any, count: int) -> np.ndarray:
    """One label for each of `count` points; the read-out determines their kind. Raises: UserError."""
    found = as_array("labels", labels)
    if found.shape != (count,):
        raise UserError(f"labels must have shape ({count},), one for each point, got {found.shape}")
    return found


def checked_radius(radius: Any) -> float:
    """A finite radius >= 0. Raises: UserError."""
    if not (math.isfinite(real("radius", radius)) and radius >= 0):
        raise UserError(f"radius must be finite and at least 0, in input units, got {radius}")
    return float(radius)
