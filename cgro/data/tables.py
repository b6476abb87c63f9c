"""Labelled points from text tables and NumPy archives; what was read is reported, ambiguous files are refused.

The type of a file is recognized by its first bytes, not its name. Numbers are read as the nearest float64 numbers.
Labels are integers, or names, which are numbered in alphabetical order.
"""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int64

from cgro.base.arrays import as_array
from cgro.base.errors import UserError
from cgro.base.machine import require_memory
from cgro.data import text_table
from cgro.data.classes import read_labels
from cgro.data.separation import LabelledPoints

ACCEPTED = "give a .csv table, or a .npz file with the arrays points (N, D) and labels (N,)"
_MEMORY = 8
"""Bytes of memory for each byte of a text file: the text, its rows, and what is read from them."""
_PIECE = 2**24
"""Bytes read at a time."""
_UNPACK = "unpack it first"
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\x93NUMPY", "a NumPy .npy array", "save points and labels with np.savez(FILE, points=..., labels=...)"),
    (b"PAR1", "a Parquet file", ACCEPTED),
    (b"ARROW1", "an Arrow file", ACCEPTED),
    (b"\xd0\xcf\x11\xe0", "an Excel file", ACCEPTED),
    (b"\x89HDF", "an HDF5 file", ACCEPTED),
    (b"\x80\x02", "a pickle, which is never read", ACCEPTED),
    (b"\x80\x03", "a pickle, which is never read", ACCEPTED),
    (b"\x80\x04", "a pickle, which is never read", ACCEPTED),
    (b"\x80\x05", "a pickle, which is never read", ACCEPTED),
    (b"\xfd7zXZ", "packed with xz", _UNPACK),
    (b"BZh", "packed with bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", _UNPACK),
)
"""First bytes of unsupported files, their type, and advice."""


@dataclass(frozen=True, eq=False)
class Table:
    """Labelled points, with details of their file."""

    data: LabelledPoints
    classes: dict[int, str]
    """Names of the labels; empty if the labels are integers in the file."""
    labels_from: str
    """The column or array of the labels."""
    notes: tuple[str, ...]
    """Skipped or recognized parts, in words."""
    rows: Int64[np.ndarray, " N"] | None = None
    """For each point the line of the text file, counted from 1; None for arrays."""

    @property
    def words(self) -> str:
        """One line about what was read."""
        points, dimensions = _count(self.data.size, "point"), _count(self.data.dim, "dimension")
        names = [", ".join(f"{k} = {name}" for k, name in self.classes.items())] if self.classes else []
        return "; ".join([f"{points} in {dimensions}, labels from {self.labels_from}", *self.notes, *names])


def read_table(path: Path | str, *, label: str | None = None) -> Table:
    """Points and labels from a text table (see `text_table.parse`) or from the arrays of a .npz file.

    label: name of the label's column; default: one called label, class, target or y, otherwise the last one.

    Raises: UserError, one line with the path, for a file that cannot be read, is none of these, is ambiguous, or holds
    points that are refused; for tables it names row, column and value.
    """
    path = Path(path)
    try:
        mode, size = path.stat().st_mode, path.stat().st_size
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISDIR(mode)):
            raise UserError(f"it is a device or a socket, not a file; {ACCEPTED}")
        head = _first_bytes(path)
        if head.startswith(b"PK\x03\x04") or path.suffix == ".npz":
            return _from_arrays(path, label)
        for magic, what, advice in _OTHERS:
            if head.startswith(magic):
                raise UserError(f"it is {what}: {advice}")
        require_memory(_MEMORY * size, f"{path.name}, a file of {size:,} bytes,")
        with path.open("rb") as file:
            return _from_text(_whole(file, path.name), label)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {ACCEPTED}") from error


def _first_bytes(path: Path) -> bytes:
    """The first bytes; none of a pipe, which can be read only once."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(16)


def _whole(file: IO[bytes] | gzip.GzipFile, name: str) -> bytes:
    """The whole content of a file, pipe or archive. Raises: UserError once its points no longer fit into memory."""
    content = bytearray()
    while piece := file.read(_PIECE):
        content += piece
        require_memory(_MEMORY * len(content), f"{name}, {len(content):,} bytes of text or more,")
    return bytes(content)


def _from_text(content: bytes, label: str | None) -> Table:
    notes: list[str] = []
    if content.startswith(b"\x1f\x8b"):
        try:
            with gzip.open(io.BytesIO(content)) as packed:
                content = _whole(packed, "its gzip content")
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"not a file of points (damaged gzip: {error}); {ACCEPTED}") from error
        notes.append("packed with gzip")
    found = text_table.parse(content, label)
    labels, classes = read_labels(found.labels, found.label_place)
    data = LabelledPoints(found.points, labels)
    _refuse_contradictions(data, classes, "rows", found.rows)
    return Table(data, classes, found.labels_from, (*notes, *found.notes), found.rows)


def _from_arrays(path: Path, label: str | None) -> Table:
    if label is not None:
        raise UserError(f"--label is for tables with a header; {ACCEPTED}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if "xl/workbook.xml" in members or not any(name.endswith(".npy") for name in members):
                what = "an Excel file" if "xl/workbook.xml" in members else "a zip archive without arrays"
                raise UserError(f"it is {what}: {ACCEPTED}")
            if "points.npy" in members:
                _require_room(archive, path.name)
        with np.load(path, allow_pickle=False) as arrays:
            if not {"points", "labels"} <= set(arrays):
                raise UserError(f"holds {sorted(arrays)}; need the arrays points (N, D) and labels (N,)")
            points, given = arrays["points"], arrays["labels"]
            others = sorted(set(arrays) - {"points", "labels"})
    except (UserError, OSError):
        raise
    except zipfile.BadZipFile as error:
        raise UserError(f"not a file of points (no whole npz archive: {error}); {ACCEPTED}") from error
    except Exception as error:  # A damaged archive may raise any exception.
        why = "it holds a pickle, which is never read" if "pickle" in str(error) else error
        raise UserError(f"not a file of points ({why}); {ACCEPTED}") from error
    classes: dict[int, str] = {}
    given = as_array("labels", given)
    if given.dtype.kind == "U" and given.ndim == 1:
        given, classes = read_labels(given, lambda i: f"label {i}")
    data = LabelledPoints(points, given)
    _refuse_contradictions(data, classes, "points", np.arange(data.size))
    notes = tuple(f"array {name} not read" for name in others)
    return Table(data, classes, "array labels", notes)


def _require_room(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse an array of points that does not fit into memory as float64, from its header alone."""
    with archive.open("points.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
    needed = float(np.prod([float(n) for n in shape])) * (16 + dtype.itemsize)
    require_memory(needed, f"{name}, points of shape {shape},")


def _refuse_contradictions(data: LabelledPoints, classes: dict[int, str], what: str, places: np.ndarray) -> None:
    """Refuse one point with two labels, by its rows in the file."""
    # Adding 0 turns -0.0 into 0.0, which has other bits.
    keys = np.ascontiguousarray(data.points + 0.0).view(np.dtype((np.void, 8 * data.dim)))[:, 0]
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    other = np.flatnonzero(data.labels != data.labels[first[which]])
    if other.size:
        j = int(other[0])
        i = int(first[which[j]])
        a, b = (classes.get(int(data.labels[k]), data.labels[k]) for k in (i, j))
        raise UserError(
            f"{what} {places[i]} and {places[j]} are the same point, but have labels {a} and {b}: remove one of them "
            "or relabel it"
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
