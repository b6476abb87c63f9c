"""Bounds in words: decimal numbers that are still bounds, rounded away from what they bound."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context


def at_most_words(bound: float, digits: int = 2) -> str:
    """An upper bound with so many significant digits, rounded up: 0.00044045 becomes 0.00045."""
    return _rounded(bound, digits, ROUND_CEILING)


def at_least_words(bound: float, digits: int = 2) -> str:
    """A lower bound with so many significant digits, rounded down: 0.43388 becomes 0.43."""
    return _rounded(bound, digits, ROUND_FLOOR)


def _rounded(bound: float, digits: int, rounding: str) -> str:
    return f"{float(Context(prec=digits, rounding=rounding).create_decimal_from_float(bound)):.{digits}g}"
