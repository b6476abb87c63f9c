"""Checks of single values at the door: each returns the value, or refuses it in one line.

Every message has the same shape: what the value is called, what is allowed, what was given.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

from cgro.errors import UserError

T = TypeVar("T", bound=float)


def integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """A whole number (no bool) from `low` to `high`, both included. Raises: UserError."""
    words = f"must be {_range('an integer', low, high)}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise UserError(f"{name} {words}, got {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise UserError(f"{name} {words}, got {value:,}")
    return int(value)


def finite(name: str, value: Any) -> float:
    """A real number that is neither infinite nor NaN. Raises: UserError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise UserError(f"{name} must be a real number, got {value!r}")
    if not math.isfinite(value):
        raise UserError(f"{name} must be finite, got {value}")
    return float(value)


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
        close = difflib.get_close_matches(str(value), [str(known) for known in allowed], n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise UserError(f"{name} must be one of {', '.join(str(known) for known in allowed)}, got {value!r}{hint}")
    return value


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
