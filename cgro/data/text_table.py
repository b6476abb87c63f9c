"""Tables of points as text: one point a row, numbers and a label, with or without a header.

Cells are separated by commas, semicolons, tabs or spaces, the same in every row. The first row is a header if all of
its cells are names. Blank lines, lines that begin with # and a column of row numbers are skipped and reported.
Ambiguous tables are refused.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64

from cgro.base.errors import UserError
from cgro.base.validate import one_of
from cgro.data.classes import MISSING, NUMBER, is_name
from cgro.data.grid import Grid, decoded
from cgro.data.separation import LARGEST_COORDINATE

LABEL_NAMES = (("label", "class", "target"), ("y",))
"""Columns of labels; a name counts if none before it occurs, since y may be a coordinate."""
_ROW_NAMES = ("", "unnamed: 0", "index", "id")
_PANDAS = tuple(int(part) for part in pd.__version__.split(".")[:2])
_EXACT = {} if _PANDAS >= (3, 1) else {"float_precision": "round_trip"}
"""Newer versions of pandas always read the nearest number."""


@dataclass(frozen=True, eq=False)
class Parsed:
    """Cells of a table, labels still as text."""

    points: Float64[np.ndarray, "N D"]
    labels: np.ndarray
    rows: Int64[np.ndarray, " N"]
    label_column: str
    """Name of the label's column in messages."""
    labels_from: str
    notes: tuple[str, ...]

    def label_place(self, i: int) -> str:
        """Position of label i in messages."""
        return f"row {self.rows[i]}, {self.label_column}"


def parse(content: bytes, label: str | None = None) -> Parsed:
    """Points and labels of a text table.

    Raises: UserError, one line that names row, column and value.
    """
    text, notes = decoded(content)
    grid = Grid.of(text)
    notes += grid.notes
    column, labels_from = _label_column(grid, label)
    skipped = _row_numbers(grid, column)
    if skipped is not None:
        name = f", {skipped}," if skipped else ""
        notes.append(f"column of row numbers{name} skipped")
    coordinates = [c for c in range(grid.width) if c != column and not (c == 0 and skipped is not None)]
    if not coordinates:
        raise UserError("it has no coordinates beside the label: need D numbers and a label in every row")
    points, labels = _numbers(grid, coordinates, column)
    rows = np.array(grid.numbers, dtype=np.int64)
    return Parsed(points, labels, rows, grid.called(column), labels_from, tuple(notes))


def _label_column(grid: Grid, label: str | None) -> tuple[int, str]:
    """Index of the label's column, and its name in messages."""
    if grid.header is None:
        if label is not None:
            raise UserError(f"--label is {label!r}, but there is no header; the label is the last column")
        return grid.width - 1, "the last column"
    names = [name.lower() for name in grid.header]
    if label is not None:
        if label not in grid.header:
            one_of("--label", label, [name for name in grid.header if name])
        wanted = [c for c, name in enumerate(grid.header) if name == label]
    else:
        groups = ([c for c, name in enumerate(names) if name in group] for group in LABEL_NAMES)
        wanted = next((group for group in groups if group), [])
    called = [grid.header[c] for c in wanted]
    if len(wanted) > 1:
        if len(set(called)) == 1:
            raise UserError(f"two columns are called {called[0]}: rename one of them")
        raise UserError(f"columns {' and '.join(called)} could both hold the label: choose with --label NAME")
    if wanted:
        return wanted[0], f"column {called[0]}"
    return grid.width - 1, f"the last column, {grid.header[-1]}"


def _row_numbers(grid: Grid, label: int) -> str | None:
    """Name, perhaps empty, of a first column that counts the rows; None if there is none.

    Raises: UserError for one that may be a coordinate, and for one whose name promises what it does not hold.
    """
    name = grid.header[0] if grid.header else ""
    if label == 0 or (grid.width < 3 and not grid.header) or name.lower() not in _ROW_NAMES:
        return None
    first = grid.cells(0)[0]
    if first in ("0", "1"):
        start = int(first)
        wrong = next((i for i in range(len(grid.lines)) if grid.cells(i)[0] != str(start + i)), None)
    else:
        wrong = 0
    if grid.header is None:
        if wrong is None and len(grid.lines) > 1:
            raise UserError(
                f"the first column counts {start}, {start + 1}, {start + 2}, ...: row numbers, or a coordinate? Name "
                "the columns in a header, or remove it"
            )
        return None
    if wrong is not None:
        what = f"{grid.called(0)} {'has no name' if not name else 'is named like row numbers'}"
        grid.refuse(wrong, f"{what}, but does not count 0, 1, 2, ...: {grid.cells(wrong)[0]!r}; name or remove it")
    return "" if name.lower() in _ROW_NAMES[:2] else name


def _numbers(grid: Grid, coordinates: list[int], label: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates, as the float64 nearest to each number in the text, and labels as text."""
    types: dict[int, type] = dict.fromkeys(range(grid.width), str) | dict.fromkeys(coordinates, np.float64)
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(grid.lines)),
            sep=r"\s+" if grid.separator == " " else grid.separator,
            header=None,
            dtype=types,
            na_filter=False,
            index_col=False,
            skip_blank_lines=False,
            **_EXACT,
        )
        points = frame[coordinates].to_numpy(dtype=np.float64)
        if (np.abs(points) <= LARGEST_COORDINATE).all() and len(points) == len(grid.lines):
            return points, frame[label].to_numpy(dtype=object)
    except (ValueError, OverflowError):
        pass  # The cell is found and named below.
    for i in range(len(grid.lines)):
        cells = grid.cells(i)
        for c in coordinates:
            if not NUMBER.fullmatch(cells[c]) or not abs(float(cells[c])) <= LARGEST_COORDINATE:
                _refuse_cell(grid, i, c, cells[c], label)
    raise UserError("not a table of numbers; need rows of D numbers and a label, separated by commas")


def _refuse_cell(grid: Grid, i: int, column: int, cell: str, label: int) -> NoReturn:
    shown = f"is {cell!r}" if cell else "is empty"
    hint = ""
    if not cell and column == grid.width - 1:
        hint = "; the row ends in a delimiter"
    elif i == 0 and grid.header is None:
        hint = "; a header has names only, a point numbers"
    elif grid.header is not None and is_name(cell):
        hint = f"; labels were read from column {grid.header[label]}, --label NAME chooses another"
    grid.refuse(i, f"{grid.called(column)} {shown}{_why(cell)}{hint}")


def _why(cell: str) -> str:
    """The problem with a coordinate."""
    if not cell:
        return ": fill it or remove the row"
    if cell.lower() in MISSING:
        return ", a missing value: fill it or remove the row"
    for pattern, words in _REASONS:
        if re.fullmatch(pattern, cell, re.IGNORECASE | re.ASCII):
            return f", {words}"
    return ", not a number"


_REASONS: tuple[tuple[str, str], ...] = (
    (r"[+-]?inf(inity)?", "not finite"),
    (r"[+-]?0x[0-9a-f]+", "hexadecimal: write decimals"),
    (r"[\d.e+-]*_[\d_.e+-]*", "with an underscore: remove it"),
    (r"[\d.e+-]*[ij]", "a complex number: points must be real"),
    (r"[+-]?[\d.]*,[\d,.e+-]*", "with a comma: write 0.5 for one half and 1000 for a thousand"),
    (NUMBER.pattern, f"not finite or beyond {LARGEST_COORDINATE:g} in size: rescale"),
)
