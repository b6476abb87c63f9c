"""Scores of training images from a CSV file, such as memorization scores: one row for each image, in any order.

    index,memorization
    0,0.125
    1,-0.02

Indices are those of the data set's training images, from 0, in the order of the data set, so that scores stay with
their images whatever subset a run draws. The column of the scores is called memorization, or score. If there is a
column label, with the names of classes, it must agree with the images. Other columns, as in the file of
`cgro memorized`, are not read. A configuration names the file and the beginning of its digest,
FILE@DIGEST (see `cgro.data.recorded`).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from cgro.base.errors import UserError
from cgro.base.numerals import read_integer, read_number
from cgro.base.validate import between
from cgro.data.recorded import digest, require_unchanged, split

T = TypeVar("T")
COLUMNS = ("memorization", "score")
_MOST = 2**28
"""Bytes of a file that cannot be scores."""


def recorded(name: str) -> str:
    """FILE@DIGEST of a file of scores that exists and is valid; what is already of this form is returned as it is.

    Raises: UserError like `read_scores`.
    """
    if split(name)[1] is not None:
        return name
    content = _content(name)
    _read(name, content)
    return f"{name}@{digest([content])}"


def read_scores(name: str, index: np.ndarray | None = None) -> np.ndarray:
    """The scores (N,), float32, of the images with these indices; of all images in their order without.

    name: may be that of `recorded`.

    Raises: UserError, one line with the path, for a file that cannot be read, has changed, or has other columns, for
    values that are not numbers in [-1, 1], and for an image without a score: one of these indices, or a gap in the
    file.
    """
    path, known = split(name)
    content = _content(path)
    require_unchanged(f"cure_scores {path}", known, digest([content]), "train again")
    found, _ = _read(path, content)
    wanted = range(len(found)) if index is None else np.asarray(index).tolist()
    missing = next((each for each in wanted if each not in found), None)
    if missing is not None:
        raise UserError(
            f"cure_scores {path}: it must have a row for each of the {len(wanted)} training images, got none with "
            f"index {missing}; indices are those of the data set"
        )
    return np.array([found[each] for each in wanted], dtype=np.float32)


def require_same_classes(name: str, index: np.ndarray, classes: Sequence[str]) -> None:
    """Raises: UserError for a file whose column label, if it has one, names other classes for the images with these
    indices: its scores are those of other images, or of the same in another order."""
    path = split(name)[0]
    named = _read(path, _content(path))[1]
    for each, own in zip(index.tolist(), classes, strict=True):
        if named.get(each, own) != own:
            raise UserError(
                f"cure_scores {path}: label must be {own} for index {each}, got {named[each]}: the scores are those of "
                "other images, or in another order"
            )


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


def _read(name: str, content: bytes) -> tuple[dict[int, float], dict[int, str]]:
    try:
        return _parsed(content.decode())
    except UnicodeDecodeError:
        problem = "it is not text; give a .csv file"
    except csv.Error as error:
        problem = f"it is not a CSV file ({error})"
    except UserError as error:
        problem = str(error)
    raise UserError(f"cure_scores {name}: {problem}")


def _parsed(text: str) -> tuple[dict[int, float], dict[int, str]]:
    """The score of each index, and its label where there is one."""
    lines = csv.reader(text.removeprefix("\ufeff").splitlines(), strict=True)
    rows = [(number, row) for number, row in enumerate(lines, 1) if row]
    header = [name.strip() for name in rows[0][1]] if rows else []
    given = [name for name in header if name in ("index", *COLUMNS)]
    if given.count("index") != 1 or len(given) != 2:
        raise UserError(f"columns must be index and memorization, each once, got {', '.join(header) or 'none'}")
    place, of_score = header.index("index"), header.index(next(name for name in given if name != "index"))
    of_label = header.index("label") if "label" in header else None
    found: dict[int, float] = {}
    named: dict[int, str] = {}
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise UserError(f"row {number} must have {len(header)} values, got {len(row)}")
        index = _of(f"index in row {number}", read_integer, row[place])
        called = f"{header[of_score]} in row {number}"
        score = between(called, _of(called, read_number, row[of_score]), -1, 1)
        if index < 0 or index in found:
            raise UserError(f"index in row {number} must be 0 or more and there once, got {index}")
        found[index] = score
        if of_label is not None and (label := row[of_label].strip()):
            named[index] = label
    if not found:
        raise UserError("it must have a row for each training image, got none")
    return found, named


def _of(name: str, read: Callable[[str], T], text: str) -> T:
    try:
        return read(text.strip())
    except UserError as error:
        raise UserError(f"{name} {error}") from error
