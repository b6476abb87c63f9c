"""Validation of single arguments: each function returns the value or raises a one-line UserError.

Every message has one shape: NAME must be CONDITION, got VALUE.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from cgro.base.errors import UserError

T = TypeVar("T", bound=float)


def integer(name: str, value: Any, *, low: int | None = None, high: int | None = None) -> int:
    """An integer, not a bool, from `low` to `high`, both included. Raises: UserError."""
    words = f"must be {_range('an integer', low, high)}"
    if _is_flag(value) or not _is(value, int, "integer"):
        raise UserError(f"{name} {words}, got {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise UserError(f"{name} {words}, got {value:,}")
    return int(value)


def real(name: str, value: Any) -> float:
    """A real number, not a bool; may be infinite or NaN. Raises: UserError."""
    if _is_flag(value) or not (_is(value, int, "integer") or _is(value, float, "floating")):
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
    if not _is_flag(value):
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


def increasing(name: str, values: Sequence[float], low: float, high: float) -> None:
    """One or more numbers, each larger than the one before, above `low` and at most `high`. Raises: UserError."""
    for value in values:
        between(name, value, low, high, open_low=True)
    if not values or list(values) != sorted(set(values)):
        raise UserError(f"{name} must be one or more and increasing, got {list(values)}")


def distinct(name: str, values: Sequence[Any]) -> None:
    """One or more values, all different. Raises: UserError."""
    if not values or len(set(values)) < len(values):
        raise UserError(f"{name} must be one or more, all different, got {', '.join(map(str, values)) or 'none'}")


def ascending(name: str, values: Sequence[float]) -> None:
    """One or more values, each larger than the one before. Raises: UserError."""
    distinct(name, values)
    if list(values) != sorted(values):
        raise UserError(f"{name} must be increasing, got {list(values)}")


def not_ignored(setting: Any, **instead: str) -> None:
    """Fields that an experiment replaces have their defaults; `instead` names what replaces each.

    Raises: UserError for another value, which would have no effect.
    """
    default = type(setting)()
    for name, other in instead.items():
        value = getattr(setting, name)
        if value != getattr(default, name):
            raise UserError(f"{name} must be left out, got {value}: give {other}")


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


def _is_flag(value: Any) -> bool:
    return _is(value, bool, "bool_")


def _is(value: Any, kind: type, of_numpy: str) -> bool:
    """Whether a value has this type or that of NumPy, which is not imported for it: help pages start without."""
    numpy = sys.modules.get("numpy")
    return isinstance(value, kind) or (numpy is not None and isinstance(value, getattr(numpy, of_numpy)))
