"""How values of options are read from text; each refuses, in one line, what it cannot be."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cgro.base.errors import UserError
from cgro.base.numerals import read_number
from cgro.runs.workers import require_jobs

T = TypeVar("T")


def _reader(read: Callable[[str], T]) -> Callable[[str], T]:
    """A reader of values whose UserError argparse puts behind the option's name."""

    def type_(text: str) -> T:
        try:
            return read(text)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return type_


@_reader
def given(text: str) -> str:
    """Text that is not empty."""
    if not text:
        raise UserError("must not be empty")
    return text


@_reader
def file(text: str) -> Path:
    """The path of a file, there or not."""
    if not text:
        raise UserError("must name a file, got ''")
    return Path(text)


@_reader
def folder(text: str) -> Path:
    """The path of a folder, there or not."""
    if not text:
        raise UserError("must name a folder, got ''")
    if os.path.exists(text) and not os.path.isdir(text):
        raise UserError(f"must name a folder, got the file {text}")
    return Path(text)


@_reader
def jobs(text: str) -> int:
    """How many worker processes."""
    jobs = _whole(text, "a positive integer", 1)
    require_jobs(jobs)
    return jobs


@_reader
def count(text: str) -> int:
    """0, 1, 2, ..."""
    return _whole(text, "a non-negative integer", 0)


@_reader
def positive(text: str) -> int:
    """1, 2, ..."""
    return _whole(text, "a positive integer", 1)


def _whole(text: str, words: str, low: int) -> int:
    # Digits of other scripts are decimal, too.
    if not (text.isascii() and text.isdecimal()) or len(text) > 18 or int(text) < low:
        raise UserError(f"must be {words}, got {text!r}")
    return int(text)


@_reader
def fraction(text: str) -> float:
    """A number, or a quotient like 8/255."""
    from cgro.base import validate  # needs numpy

    return validate.fraction(text)


@_reader
def seconds(text: str) -> float:
    """A finite time above 0."""
    try:
        value = read_number(text)
    except UserError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UserError(f"must be a number of seconds above 0, got {text!r}")
    return value
