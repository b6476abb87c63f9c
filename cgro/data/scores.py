"""Scores of training images from a CSV file, such as memorization scores: one row for each image, in any order.

    index,memorization
    0,0.125
    1,-0.02

Indices are those of the training images of the run, from 0, before they are shuffled. The column of the scores is
called memorization, or score. A configuration names the file and the beginning of its digest, FILE@DIGEST, so that
results of other scores are never taken for its own.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from cgro.base.errors import UserError
from cgro.base.numerals import read_integer, read_number
from cgro.base.validate import between

T = TypeVar("T")
COLUMNS = ("memorization", "score")
_MOST = 2**28
"""Bytes of a file that cannot be scores."""


_RECORDED = re.compile(r"(.+)@([0-9a-f]{16})", re.DOTALL)


def recorded(name: str) -> str:
    """FILE@DIGEST of a file of scores that exists and is valid; what is already of this form is returned as it is.

    Raises: UserError like `read_scores`.
    """
    if _RECORDED.fullmatch(name):
        return name
    content = _content(name)
    _read(name, content)
    return f"{name}@{_digest(content)}"


def read_scores(name: str) -> np.ndarray:
    """The scores (N,), float32, in the order of their indices; `name` may be that of `recorded`.

    Raises: UserError, one line with the path, for a file that cannot be read, has changed, or has other columns, for
    values that are not numbers in [-1, 1], and for indices that are not 0, 1, ..., N - 1, each once.
    """
    found = _RECORDED.fullmatch(name)
    path, digest = found.groups() if found else (name, None)
    content = _content(path)
    if digest not in (None, _digest(content)):
        raise UserError(f"cure_scores {path}: changed since it was recorded as {digest}; train again")
    return _read(path, content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _content(name: str) -> bytes:
    path = Path(name)
    try:
        if not path.is_file():
            raise UserError(f"cure_scores {name}: no such file; write one with the columns index and memorization")
        if path.stat().st_size > _MOST:
            raise UserError(f"cure_scores {name}: {path.stat().st_size:,} bytes are more than scores take")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cure_scores {name}: cannot be read ({reason}); make it readable") from error


def _read(name: str, content: bytes) -> np.ndarray:
    try:
        return _parsed(content.decode())
    except UnicodeDecodeError:
        problem = "it is not text; give a .csv file"
    except csv.Error as error:
        problem = f"it is not a CSV file ({error})"
    except UserError as error:
        problem = str(error)
    raise UserError(f"cure_scores {name}: {problem}")


def _parsed(text: str) -> np.ndarray:
    lines = csv.reader(text.removeprefix("\ufeff").splitlines(), strict=True)
    rows = [(number, row) for number, row in enumerate(lines, 1) if row]
    header = [name.strip() for name in rows[0][1]] if rows else []
    unknown = [name for name in header if name not in ("index", *COLUMNS)]
    if unknown:
        raise UserError(f"columns must be index and memorization, got {unknown[0]!r}; remove it")
    if len(header) != 2 or "index" not in header or len(set(header)) < 2:
        raise UserError(f"columns must be index and memorization, got {', '.join(header) or 'none'}")
    place, column = header.index("index"), next(name for name in header if name != "index")
    found: dict[int, float] = {}
    for number, row in rows[1:]:
        if len(row) != 2:
            raise UserError(f"row {number} must have 2 values, got {len(row)}")
        index = _of(f"index in row {number}", read_integer, row[place])
        score = between(
            f"{column} in row {number}", _of(f"{column} in row {number}", read_number, row[1 - place]), -1, 1
        )
        if index < 0 or index in found:
            raise UserError(f"index in row {number} must be 0 or more and there once, got {index}")
        found[index] = score
    missing = next((index for index in range(len(found)) if index not in found), None)
    if not found or missing is not None:
        raise UserError(
            f"it must have a row for each training image, index 0 to N - 1, got {len(found)} rows and none with index "
            f"{missing or 0}"
        )
    return np.array([found[index] for index in range(len(found))], dtype=np.float32)


def _of(name: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text.strip())
    except UserError as error:
        raise UserError(f"{name} {error}") from error
