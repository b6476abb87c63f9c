"""Validation of arguments, single numbers and arrays: each function returns the value or raises a one-line UserError.

Every message has one shape: NAME must be CONDITION, got VALUE.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64

from cgro.base.errors import UserError

T = TypeVar("T", bound=float)


def integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """An integer, not a bool, from `low` to `high`, both included. Raises: UserError."""
    words = f"must be {_range('an integer', low, high)}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise UserError(f"{name} {words}, got {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise UserError(f"{name} {words}, got {value:,}")
    return int(value)


def real(name: str, value: Any) -> float:
    """A real number, not a bool; may be infinite or NaN. Raises: UserError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise UserError(f"{name} must be a real number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise UserError(f"{name} must be a number of at most 308 digits, got {value}") from None


def finite(name: str, value: Any) -> float:
    """A real number that is neither infinite nor NaN. Raises: UserError."""
    real(name, value)
    if not math.isfinite(value):
        raise UserError(f"{name} must be finite, got {value}")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """True or False. Raises: UserError."""
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"{name} must be true or false, got {value!r}")
    return bool(value)


def at_least(name: str, value: T, low: float) -> T:
    """A finite number >= low. Raises: UserError."""
    if finite(name, value) < low:
        raise UserError(f"{name} must be at least {low:,}, got {value:,}")
    return value


def above(name: str, value: T, low: float) -> T:
    """A finite number > low. Raises: UserError."""
    if finite(name, value) <= low:
        raise UserError(f"{name} must be greater than {low:,}, got {value:,}")
    return value


def between(name: str, value: T, low: float, high: float, *, open_low: bool = False, open_high: bool = False) -> T:
    """A finite number from `low` to `high`, each included unless it is open. Raises: UserError."""
    number = finite(name, value)
    if number < low or number > high or (open_low and number == low) or (open_high and number == high):
        interval = f"{'(' if open_low else '['}{low:,}, {high:,}{')' if open_high else ']'}"
        raise UserError(f"{name} must be in {interval}, got {value:,}")
    return value


def one_of(name: str, value: Any, allowed: Collection[Any]) -> Any:
    """One of the allowed values. Raises: UserError, suggesting the closest."""
    if value not in allowed:
        known = [str(each) for each in allowed]
        close = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {close[0]}?" if close else ""
        if str(value) in known:  # 2 in place of '2'
            known = [repr(each) for each in allowed]
        raise UserError(f"{name} must be one of {', '.join(known)}, got {value!r}{hint}")
    return value


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


def _range(kind: str, low: float | None, high: float | None) -> str:
    match low, high:
        case None, None:
            return kind
        case 0, None:
            return f"{kind.replace('an ', 'a non-negative ')}"
        case _, None:
            return f"{kind} of at least {low:,}"
        case None, _:
            return f"{kind} of at most {high:,}"
        case _:
            return f"{kind} from {low:,} to {high:,}"
