"""What a folder of results holds: results, cells, whether they are intact, how two results differ, what may go."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from cgro.base.errors import UserError
from cgro.base.files import is_leftover
from cgro.runs import store
from cgro.runs.cell_store import FILE, Cells

Kind = Literal["leftovers", "damaged", "outdated", "unfinished", "cells"]
WHY: dict[Kind, str] = {
    "leftovers": "temporary files of killed processes; never read",
    "damaged": "results that do not match their checksums, and copies of cell files before a repair; never read",
    "outdated": "results of an older version of their configuration or of cgro; no longer found",
    "unfinished": "unfinished cells, from which an interrupted command resumes",
    "cells": "finished cells, from which results are assembled; computed again if needed",
}
"""Kinds of what may be deleted, the most useless first."""


@dataclass(frozen=True)
class Result:
    """A result file, known by its attributes alone."""

    path: Path
    bytes: int
    attributes: Mapping[str, Any]
    """Empty if the file cannot be read."""

    @property
    def experiment(self) -> str:
        return str(self.attributes.get("experiment", ""))

    @property
    def config(self) -> dict[str, Any]:
        """Its configuration, flat: fields of parts are called part.field."""
        with contextlib.suppress(KeyError, TypeError, ValueError, RecursionError):
            return dict(_flat(json.loads(self.attributes["config"])))
        return {}

    @property
    def settings(self) -> str:
        """The options of the command that made it."""
        words = str(self.attributes.get("command", "")).split()
        return " ".join(words[3:]) if words[:2] == ["cgro", "simulate"] else " ".join(words[2:])

    @property
    def is_found(self) -> bool:
        """Whether commands still find it by its configuration; published results have names of their own."""
        if self.path.parent.name != self.experiment:
            return True
        with contextlib.suppress(ValueError):
            return self.path.stem == store.content_hash(self.experiment, str(self.attributes["config"]))
        return False


@dataclass(frozen=True)
class Removable:
    """A file or folder that may be deleted."""

    kind: Kind
    path: Path
    bytes: int


def results_in(folder: Path, experiments: Iterable[str] = ()) -> list[Result]:
    """The results in a folder and its subfolders, by experiment and date; of these experiments, by default of all.

    Only attributes are read, so it is quick, and damaged values are not noticed: see `damaged_in`.
    """
    wanted = set(experiments)
    found = [result for path in sorted(folder.glob("**/*.nc")) if (result := _result(path)) is not None]
    if wanted:
        found = [result for result in found if result.experiment in wanted]
    return sorted(found, key=lambda r: (r.experiment, str(r.attributes.get("created", "")), str(r.path)))


def matches(result: Result, field: str, value: str) -> bool:
    """Whether a field of the configuration has this value, as JSON or as text. A part's name may be left out."""
    values = [v for name, v in result.config.items() if name == field or name.endswith(f".{field}")]
    return any(value in (json.dumps(v), str(v)) or _same_number(v, value) for v in values)


def cell_files_in(folder: Path) -> dict[Path, int]:
    """The cell files in a folder and its subfolders, and how many cells each has."""
    return {path: Cells(path.parent).count() for path in sorted(folder.glob(f"**/cells/{FILE}"))}


def damaged_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are not intact, and in which way. Every byte of the folder is read."""
    for path in sorted(folder.glob("**/*.nc")):
        try:
            store.load(path)
        except UserError as error:
            yield path, str(error)
    for path in sorted(folder.glob(f"**/cells/{FILE}")):
        damaged = Cells(path.parent).damaged()
        if damaged:
            yield path, f"{path}: {damaged:,} cells are damaged; the command that made them computes them again"


def removable_in(folder: Path) -> list[Removable]:
    """What may be deleted, the most useless first. Files that a running process is writing are left out."""
    found = [Removable("leftovers", path, _size(path)) for path in folder.glob("**/.*.tmp") if is_leftover(path)]
    found += [Removable("damaged", path, _size(path)) for path in folder.glob("**/cells/*.damaged")]
    for path in folder.glob("**/*.nc"):
        try:
            attributes = store.load(path).attrs
        except UserError:
            found.append(Removable("damaged", path, _size(path)))
            continue
        if not Result(path, _size(path), attributes).is_found:
            found.append(Removable("outdated", path, _size(path)))
    for cells in (path for path in folder.glob("**/cells") if (path / FILE).exists() or any(path.glob("*/"))):
        found += [Removable("unfinished", path, _size(path)) for path in cells.iterdir() if path.is_dir()]
        if (cells / FILE).exists():
            found.append(Removable("cells", cells / FILE, _size(cells / FILE)))
    order = list(WHY)
    return sorted(found, key=lambda each: (order.index(each.kind), str(each.path)))


@dataclass(frozen=True)
class Difference:
    """How one variable of two results differs."""

    name: str
    words: str
    """Empty if it is the same in both, bit for bit."""
    largest: float = 0.0
    """Largest absolute difference; NaN if they cannot be compared."""
    relative: float = 0.0
    """Largest difference over the largest absolute value."""

    @property
    def sizes(self) -> dict[str, float]:
        """Both numbers by name."""
        return {"largest": self.largest, "relative": self.relative}


def differences(first: xr.Dataset, second: xr.Dataset) -> list[Difference]:
    """All variables and coordinates of both, in order; variables are compared at the coordinates that both have."""
    names = [*first.variables, *(name for name in second.variables if name not in first.variables)]
    return [_difference(str(name), first, second) for name in names]


def changed_fields(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields of two flat configurations with other values; None where one lacks it."""
    return {
        name: (first.get(name), second.get(name))
        for name in dict.fromkeys((*first, *second))
        if json.dumps(first.get(name)) != json.dumps(second.get(name))
    }


def _difference(name: str, first: xr.Dataset, second: xr.Dataset) -> Difference:
    if name not in first.variables or name not in second.variables:
        return Difference(name, f"only in the {'first' if name in first.variables else 'second'}", np.nan, np.nan)
    a, b = first[name], second[name]
    if a.dims != b.dims:
        return Difference(name, f"dimensions {a.dims} and {b.dims}", np.nan, np.nan)
    words = ""
    if name not in a.dims:
        for dim in (d for d in a.dims if all(d in each.indexes and each.indexes[d].is_unique for each in (a, b))):
            common = a.indexes[dim].intersection(b.indexes[dim], sort=False)
            if len(common) < max(a.sizes[dim], b.sizes[dim]):
                words = _joined(words, f"{len(common):,} values of {dim} in both")
            a, b = a.sel({dim: common}), b.sel({dim: common})
    if a.shape != b.shape:
        return Difference(name, f"shapes {a.shape} and {b.shape}", np.nan, np.nan)
    return _of_values(name, a.values, b.values, words)


def _of_values(name: str, x: np.ndarray, y: np.ndarray, words: str) -> Difference:
    if not {x.dtype.kind, y.dtype.kind} <= set("biuf"):
        other = int((x != y).sum())
        said = f"{other:,} of {x.size:,} differ" if other else ""
        return Difference(name, _joined(words, said), *((np.nan, np.nan) if other else ()))
    x, y = x.astype(float), y.astype(float)
    other = ~((x == y) | (np.isnan(x) & np.isnan(y)))
    if not other.any():
        return Difference(name, words)
    lost = int((np.isnan(x) != np.isnan(y)).sum())
    said = f"{int(other.sum()):,} of {x.size:,} differ" + (f", {lost:,} are NaN in one of both" if lost else "")
    if lost:
        return Difference(name, _joined(words, said), np.nan, np.nan)
    largest, scale = float(np.abs(x - y)[other].max()), float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    return Difference(name, _joined(words, said), largest, largest / scale if scale else np.inf)


def _joined(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _result(path: Path) -> Result | None:
    """A result by its attributes, without its values; None for other NetCDF files."""
    import h5py  # type: ignore[import-untyped]

    try:
        with h5py.File(path, "r") as file:
            attributes = {str(name): _python(value) for name, value in file.attrs.items()}
    except OSError:
        return Result(path, _size(path), {})
    return Result(path, _size(path), attributes) if "experiment" in attributes else None


def _python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) or getattr(value, "size", 0) == 1 else value


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size
    return 0


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _same_number(stored: Any, text: str) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(stored, int | float) and not isinstance(stored, bool) and float(text) == stored
    return False
