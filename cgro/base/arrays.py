"""Validation of arrays of numbers. Each function returns the array, or refuses it in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from cgro.base.errors import UserError


def as_array(name: str, values: Any) -> np.ndarray:
    """The values as a NumPy array of any type.

    Raises: UserError for masked entries, whose mask would be lost, and for what NumPy cannot convert.
    """
    if np.ma.is_masked(values):
        raise UserError(f"{name} must have no masked entries: fill them or leave them out")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{name} must be an array of numbers with rows of equal length, got {type(values).__name__} ({error})"
        ) from error


def real_array(name: str, values: Any) -> Float64[np.ndarray, "*shape"]:
    """The values as float64, without rounding; may share memory with them.

    Text such as '1_0', bools, objects and complex numbers are refused, since a conversion could change their meaning.

    Raises: UserError, also for an integer or a longer float that float64 cannot represent.
    """
    given = as_array(name, values)
    if given.dtype.kind not in "iuf":
        raise UserError(f"{name} must be real numbers, got type {given.dtype}: convert them")
    with np.errstate(over="ignore"):
        converted = np.asarray(given, dtype=np.float64)
    if given.dtype.itemsize >= 8 and given.dtype.kind + str(given.dtype.itemsize) != "f8":
        _require_exact(name, given, converted)
    return converted


def _require_exact(name: str, given: np.ndarray, converted: np.ndarray) -> None:
    """Refuse numbers that the conversion to float64 changed; integers are compared exactly."""
    if given.dtype.kind == "f":
        changed = (converted != given) & ~np.isnan(given)
    else:
        large = np.abs(converted) >= 2.0**53
        changed = np.zeros(given.shape, bool)
        changed[large] = [int(a) != int(b) for a, b in zip(given[large], converted[large], strict=True)]
    if changed.any():
        raise UserError(f"{name} must be exact in float64, got {given[changed][0]}: round or rescale them")
