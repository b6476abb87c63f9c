"""Numbers as users type them: plain ASCII numerals only.

Python's own `int` and `float` also accept 1_0, digits of other scripts, spaces, and 1e400 as infinity.
"""

from __future__ import annotations

import contextlib
import math
import re
from fractions import Fraction

from cgro.base.errors import UserError

_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
LARGEST = 2**63 - 1
"""Largest integer, that of 64 bits."""


def read_integer(text: str) -> int:
    """The integer that a text denotes. Raises: UserError."""
    if not _INTEGER.fullmatch(text):
        raise UserError(f"must be an integer in digits 0 to 9, got {text!r}")
    # No more digits than Python converts.
    if len(text) > 100 or abs(int(text)) > LARGEST:
        raise UserError(f"must be an integer of at most 2^63 - 1 in size, got {text}")
    return int(text)


def read_number(text: str) -> float:
    """The real number that a text denotes, including inf and nan, which later checks refuse. Raises: UserError."""
    if not (_NUMBER.fullmatch(text) or _NOT_FINITE.fullmatch(text)):
        raise UserError(f"must be a number like 0.5 or 1e-3, got {text!r}")
    value = float(text)
    if math.isinf(value) and not _NOT_FINITE.fullmatch(text):
        raise UserError(f"must be a number that a float holds, got {text}")
    return value


def read_fraction(text: str) -> float:
    """The number that a text denotes: a decimal, or a quotient such as 8/255, rounded once.

    Raises: UserError for anything else, also for inf, nan, 1_0 and a quotient by 0.
    """
    above, _, below = text.partition("/")
    if _DECIMAL.fullmatch(above.strip()) and (_DECIMAL.fullmatch(below.strip()) or "/" not in text):
        divisor = Fraction(below.strip() or 1)
        if divisor:
            with contextlib.suppress(OverflowError):
                return float(Fraction(above.strip()) / divisor)
    raise UserError(f"must be a decimal such as 0.03 or a fraction such as 8/255, got {text!r}")
