"""Labels as text: integers, or names of classes, never both."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64

from cgro.base.errors import UserError

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A decimal number, as Python and pandas read it; neither nan nor inf, hexadecimal or with underscores."""
MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nat"})
"""Spellings of a missing value, in lower case."""
_LIKE_A_NUMBER = re.compile(r"[+-]?[\d.,][\dxXa-fA-FjJoO.,_'+-]*|[+-]?inf(inity)?", re.IGNORECASE)
"""A text that denotes a number, but not in plain decimal notation: 1_0, 0x1F, 1,5, 1+2j, inf."""


def read_labels(texts: np.ndarray, place: Callable[[int], str]) -> tuple[Int64[np.ndarray, " N"], dict[int, str]]:
    """Labels (N,) and, if the texts are names, the name of each label; names are numbered in alphabetical order.

    place: where text i stands, in words.
    Raises: UserError for a missing label, a number that is not a 64-bit integer, and a mix of numbers and names.
    """
    codes, distinct = pd.factorize(np.asarray(texts, dtype=object))
    words = [str(text).strip() for text in distinct]
    kinds = [_kind(word) for word in words]
    first = {code: int(i) for code, i in zip(*np.unique(codes, return_index=True), strict=True)}
    for code, (word, kind) in enumerate(zip(words, kinds, strict=True)):
        i = first[code]
        if kind == "refused":
            shown = repr(word) if word else "empty"
            raise UserError(f"{place(i)} is {shown}: {_objection(word)}")
        if kind != kinds[0]:
            raise UserError(
                f"{place(i)} is {word!r}, but {place(0)} is {words[0]!r}: labels must be integers or names, not both"
            )
    if kinds[0] == "integer":
        return np.array([_integer(word) for word in words], dtype=np.int64)[codes], {}
    names = sorted(set(words))
    numbers = {name: k for k, name in enumerate(names)}
    return np.array([numbers[word] for word in words], dtype=np.int64)[codes], dict(enumerate(names))


def is_name(text: str) -> bool:
    """Whether a text is the name of a class or a column: neither missing nor a number."""
    return _kind(text) == "name"


def _kind(word: str) -> Literal["integer", "name", "refused"]:
    if word.lower() in MISSING:
        return "refused"
    if NUMBER.fullmatch(word):
        return "refused" if _integer(word) is None else "integer"
    return "refused" if _LIKE_A_NUMBER.fullmatch(word) else "name"


def _integer(word: str) -> int | None:
    """The 64-bit integer that a text denotes, or None."""
    value = float(word)
    if abs(value) >= 2.0**64 or value != np.floor(value):
        return None
    whole = re.fullmatch(r"([+-]?\d+)(\.0*)?", word)
    number = int(whole[1]) if whole else int(value)
    # A decimal such as 1.00000000000000000001 is nearly an integer.
    exact = whole is not None or value == 0 or _decimal_is_whole(word)
    return number if exact and -(2**63) <= number < 2**63 else None


def _decimal_is_whole(word: str) -> bool:
    return Fraction(word).denominator == 1


def _objection(word: str) -> str:
    if not word:
        return "a missing label; fill it, or remove the delimiter if the row ends in a delimiter"
    if word.lower() in MISSING:
        return "a missing value; fill it or remove it"
    if NUMBER.fullmatch(word) and abs(float(word)) >= 2.0**63:
        return "beyond integers of 64 bits: number the classes"
    return "labels must be integers or names; number the classes"
