"""Rows and cells of a text table: encoding, separator and header; comments and blank lines are skipped."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from cgro.base.errors import UserError
from cgro.data.classes import is_name

_SEPARATORS = {",": "commas", ";": "';'", "\t": "tabs", " ": "spaces"}
_NO_POINTS = "holds no points; need rows of D numbers and a label"


@dataclass(frozen=True)
class Grid:
    """Rows with equal numbers of cells."""

    lines: list[str]
    numbers: list[int]
    """Of the lines, counted from 1."""
    separator: str
    header: list[str] | None
    width: int
    notes: list[str]

    @classmethod
    def of(cls, text: str) -> Grid:
        lines = re.split(r"\r\n|\n|\r", text)
        while lines and not lines[-1].strip():
            lines.pop()
        rows = [(n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
        blank = sum(not line.strip() for line in lines)
        comments = [(n, line) for n, line in enumerate(lines, 1) if line.lstrip().startswith("#")]
        if not rows:
            raise UserError(_NO_POINTS)
        separator = _separator(*rows[0])
        width = len(_cells(rows[0][1], separator, rows[0][0]))
        for n, line in rows:
            _require_width(line, separator, n, width, rows[0][0])
        header, rows, comments = _header(rows, comments, separator, width)
        notes = ["header skipped" if header else "no header"]
        notes += [f"separated by {_SEPARATORS[separator]}"] if separator != "," else []
        for k, noun in ((blank, "blank"), (len(comments), "comment")):
            notes += [f"{k:,} {noun} line{'s' * (k > 1)} skipped"] if k else []
        if not rows:
            raise UserError(_NO_POINTS)
        return cls([line for _, line in rows], [n for n, _ in rows], separator, header, width, notes)

    def cells(self, i: int) -> list[str]:
        """The cells of point i, stripped."""
        return _cells(self.lines[i], self.separator, self.numbers[i])

    def called(self, column: int) -> str:
        """Name of a column in messages."""
        name = self.header[column] if self.header else ""
        return f"column {column + 1}{f' ({name})' if name else ''}"

    def refuse(self, i: int, why: str) -> NoReturn:
        raise UserError(f"row {self.numbers[i]} is {self.lines[i][:60]!r}: {why}")


def decoded(content: bytes) -> tuple[str, list[str]]:
    """The text without its byte-order mark. Raises: UserError for other encodings than UTF-8 and marked UTF-16."""
    notes = []
    try:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = content.decode("utf-16")
            notes.append("UTF-16 text")
        else:
            text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.encoding.startswith("utf-16"):
            raise UserError(f"not a file of points ({error.reason} in UTF-16 text); save it as UTF-8") from error
        row = content[: error.start].count(b"\n") + 1
        raise UserError(f"row {row} has the non-UTF-8 byte {content[error.start]:#04x}: save it as UTF-8") from error
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        raise UserError(f"row {row} has a NUL character, as in a binary file or unmarked UTF-16: save it as UTF-8")
    if text.lstrip()[:1] in ("{", "["):
        raise UserError("it looks like JSON: need rows of D numbers and a label, separated by commas")
    return text, notes


def _separator(number: int, line: str) -> str:
    found = [s for s in ",;\t" if s in line.strip(" ")]
    if len(found) > 1:
        both = " and ".join(repr(s) if s != "\t" else "tabs" for s in found)
        raise UserError(f"row {number} is {line[:60]!r}: it holds {both}; use one separator, and no decimal comma")
    if found:
        return found[0]
    if len(line.split()) > 1:
        return " "
    raise UserError(f"row {number} is {line[:60]!r}: one column; need D numbers and a label, separated by commas")


def _cells(line: str, separator: str, number: int) -> list[str]:
    """Cells without spaces around them. Raises: UserError for quotes that do not enclose a cell."""
    if separator == " " and '"' not in line:
        return line.split()
    try:
        (cells,) = csv.reader([line.strip(" ")], delimiter=separator, strict=True, skipinitialspace=separator == " ")
    except csv.Error as error:
        raise UserError(f"row {number} is {line[:60]!r}: a quote is not closed, or text follows it") from error
    return [cell.strip() for cell in cells]


def _require_width(line: str, separator: str, number: int, width: int, first: int) -> None:
    quick = separator != " " and '"' not in line
    found = line.count(separator) + 1 if quick else len(_cells(line, separator, number))
    if found != width:
        raise UserError(
            f"row {number} is {line[:60]!r}; need D numbers and a label in every row: it has {found} cells, row "
            f"{first} has {width}"
        )


def _header(
    rows: list[tuple[int, str]], comments: list[tuple[int, str]], separator: str, width: int
) -> tuple[list[str] | None, list[tuple[int, str]], list[tuple[int, str]]]:
    """Column names, if any, and the remaining rows and comments."""
    number, line = rows[0]
    cells = _cells(line, separator, number)
    if _are_names(cells[1:] if not cells[0] else cells):
        return cells, rows[1:], comments
    # numpy.savetxt writes a header as a comment.
    if comments and comments[0][0] == number - 1 and '"' not in comments[0][1]:
        names = [cell.strip() for cell in comments[0][1].lstrip(" #").split(None if separator == " " else separator)]
        if len(names) == width and _are_names(names):
            return names, rows, comments[1:]
    if _is_numbering(cells, (_cells(other, separator, n) for n, other in rows[1:])):
        raise UserError(
            f"row {number} is {line[:60]!r}: column numbers, or a point? Give the columns names, or write a point "
            "as 0.0, 1.0, ..."
        )
    return None, rows, comments


_PIXEL = re.compile(r"\d+x\d+", re.ASCII)
"""Row and column of a pixel, as tables of images call it: 28x28."""


def _are_names(cells: list[str]) -> bool:
    """Whether cells are column names, including pixel names such as 28x28.

    Pixel names of row 0 look like hexadecimal numbers: they count only next to a pixel of another row or another name.
    """
    pixels = [cell for cell in cells if _PIXEL.fullmatch(cell)]
    plain = len(cells) > len(pixels) and all(is_name(cell) or _PIXEL.fullmatch(cell) for cell in cells)
    return plain and (not pixels or any(not cell.startswith("0x") for cell in pixels))


def _is_numbering(cells: list[str], others: Iterator[list[str]]) -> bool:
    """Whether the first row may be the column numbers of a data frame: 0, 1, 2, ..., perhaps with an index or a name.

    It is taken as a point if another row has the same label, unless that label is a column number, too.
    """
    numbered = cells[1:] if not cells[0] else cells
    counts = [str(k) for k in range(len(numbered))]
    if numbered[:-1] != counts[:-1] or not (numbered == counts or is_name(numbered[-1])):
        return False
    return (numbered == counts and len(cells) > 2) or all(other[-1] != cells[-1] for other in others)
